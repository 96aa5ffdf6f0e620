//! Tokens that came after the vocabulary of a `tokenizer.model`: which they are, and how they are found in a text.
//!
//! `added_tokens.json` knows their spellings and ids. `tokenizer_config.json` may describe tokens by their id besides
//! (`added_tokens_decoder`), and what it says of one counts, a piece of the vocabulary included. A token that it does not
//! describe takes the white space on both its sides, as in the tokenizers that older checkpoints were trained with.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use tokenizers::AddedToken;

use crate::model_file::quoted;
use crate::tokenizer::error::TokenizerError;
use crate::tokenizer::spec::{MAX_ADDED, at_most, invalid, unsupported};

const FIELD: &str = "added_tokens_decoder";

/// What `tokenizer_config.json` says of a token. How a text is changed before pieces are looked for in it is no question here:
/// added tokens are looked for before.
#[derive(Deserialize)]
pub(super) struct Description {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    special: bool,
}

/// Descriptions by id.
#[derive(Default)]
pub(super) struct Descriptions(BTreeMap<u32, Description>);

impl Descriptions {
    /// Checks what `file` says, by ids in decimal.
    pub(super) fn new(by_name: BTreeMap<String, Description>, file: &str) -> Result<Self, TokenizerError> {
        at_most(file, FIELD, by_name.len(), MAX_ADDED)?;
        let mut by_id = BTreeMap::new();
        for (name, description) in by_name {
            let id: u32 =
                name.parse().map_err(|_| invalid(file, FIELD, &quoted(&name), "the id of a token"))?;
            if description.single_word {
                return Err(unsupported(file, &format!("{FIELD}.{id}.single_word"), "true", "false"));
            }
            by_id.insert(id, description);
        }
        Ok(Self(by_id))
    }

    /// `later`, the tokens of `added_tokens.json`, and those that are only described, in order of their ids.
    pub(super) fn complete(
        &self,
        mut later: Vec<(String, u32)>,
        vocab: &[(String, u32)],
        file: &str,
    ) -> Result<Vec<(String, u32)>, TokenizerError> {
        let known: BTreeMap<u32, &str> =
            vocab.iter().chain(&later).map(|(token, id)| (*id, token.as_str())).collect();
        let mut more = Vec::new();
        for (id, description) in &self.0 {
            match known.get(id) {
                Some(token) if *token != description.content => {
                    let field = format!("{FIELD}.{id}.content");
                    return Err(invalid(
                        file,
                        &field,
                        &quoted(&description.content),
                        "the token with that id",
                    ));
                }
                Some(_) => {}
                None => more.push((description.content.clone(), *id)),
            }
        }
        later.append(&mut more);
        // The crate numbers added tokens in the order in which they come.
        later.sort_by_key(|(_, id)| *id);
        Ok(later)
    }

    /// All tokens that are found in a text before anything else: `special` pieces, described pieces, and those that came `later`.
    pub(super) fn tokens(
        &self,
        vocab: &[(String, u32)],
        special: &[bool],
        later: Vec<(String, u32)>,
    ) -> Vec<(u32, AddedToken)> {
        let spelled: HashSet<&str> = later.iter().map(|(token, _)| token.as_str()).collect();
        let mut tokens = Vec::new();
        for ((token, id), special) in vocab.iter().zip(special) {
            if (*special || self.0.contains_key(id)) && !spelled.contains(token.as_str()) {
                let plain = AddedToken::from(token.clone(), true);
                tokens.push((*id, self.described(*id, plain)));
            }
        }
        tokens.extend(later.into_iter().map(|(token, id)| {
            let plain = AddedToken::from(token, false).lstrip(true).rstrip(true);
            (id, self.described(id, plain))
        }));
        tokens
    }

    /// A token as it is described, or else `plain`.
    fn described(&self, id: u32, plain: AddedToken) -> AddedToken {
        let token = match self.0.get(&id) {
            Some(description) => AddedToken::from(plain.content, description.special)
                .lstrip(description.lstrip)
                .rstrip(description.rstrip),
            None => plain,
        };
        token.normalized(false)
    }
}
