//! Added tokens: those that are found in a text before anything else, from all the places where a folder lists them.
//!
//! tokenizer.json has a list of its own, `tokenizer_config.json` may describe tokens by their id (`added_tokens_decoder`), and
//! `added_tokens.json` names them alone; it counts only where the config describes none. Where two places speak of one
//! spelling, the config wins; the id that it gives counts for nothing: a spelling of the vocabulary has its id there, and any
//! other gets the next one, in the order of the ids given. The names of special tokens come last, and become tokens
//! in the same way.
//! All of this is as in `transformers` 4.57 and 5.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::AddedToken;

use super::error::TokenizerError;
use super::spec::{MAX_ADDED, at_most, invalid};
use crate::model_file::quoted;

const FIELD: &str = "added_tokens_decoder";

/// What `tokenizer_config.json` says of tokens; the rest of that file is for others.
#[derive(Default, Deserialize)]
pub(super) struct Settings {
    bos_token: Option<TokenName>,
    eos_token: Option<TokenName>,
    // Of these only the spelling counts; some files have numbers or booleans here.
    unk_token: Option<Value>,
    sep_token: Option<Value>,
    pad_token: Option<Value>,
    cls_token: Option<Value>,
    mask_token: Option<Value>,
    additional_special_tokens: Option<Value>,
    extra_special_tokens: Option<Value>,
    added_tokens_decoder: Option<BTreeMap<String, Description>>,
}

/// A token by its content, plain or inside a description.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenName {
    Plain(String),
    Described { content: String },
}

/// What is said of a token: how it is found, and whether it is one of those that text does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Description {
    content: String,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
    /// Whether it is looked for in the text as the normalizer leaves it; special tokens are not unless this says so.
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl Description {
    /// The token as described; `is_special` if a name says so, too.
    fn token(&self, is_special: bool) -> AddedToken {
        let token = AddedToken::from(self.content.clone(), self.special || is_special)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .single_word(self.single_word);
        // Silence means what the description says of itself, not what the name makes of it.
        token.normalized(self.normalized.unwrap_or(!self.special))
    }
}

impl TokenName {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) | Self::Described { content } => content,
        }
    }
}

impl Settings {
    /// The spelling of the token that begins a text. An empty one is none.
    pub(super) fn bos(&self) -> Option<&str> {
        self.bos_token.as_ref().map(TokenName::content).filter(|name| !name.is_empty())
    }

    /// The spelling of the token that ends a text. An empty one is none.
    pub(super) fn eos(&self) -> Option<&str> {
        self.eos_token.as_ref().map(TokenName::content).filter(|name| !name.is_empty())
    }

    /// Spellings of special tokens, in the order in which `transformers` goes through them.
    ///
    /// # Errors
    /// More names than a tokenizer may have added tokens; `file` is the name of the config.
    pub(super) fn named(&self, file: &str) -> Result<Vec<&str>, TokenizerError> {
        let mut names: Vec<&str> = self.bos().into_iter().chain(self.eos()).collect();
        for value in [&self.unk_token, &self.sep_token, &self.pad_token, &self.cls_token, &self.mask_token] {
            names.extend(value.as_ref().and_then(spelling));
        }
        for list in [&self.additional_special_tokens, &self.extra_special_tokens] {
            names.extend(list.as_ref().and_then(Value::as_array).into_iter().flatten().filter_map(spelling));
        }
        names.retain(|name| !name.is_empty());
        at_most(file, "names of special tokens", names.len(), MAX_ADDED)?;
        Ok(names)
    }

    /// Completes the added tokens of a vocabulary, `listed` by its own file, with those that the config describes and names, and with
    /// `later`, the spellings and ids of `added_tokens.json`, which are found as `plain` says.
    ///
    /// # Errors
    /// Ids that are no numbers, too many tokens or names of them; `file` is the name of the config in errors.
    pub(super) fn complete(
        &self,
        mut listed: Vec<(u32, AddedToken)>,
        vocab: &[(String, u32)],
        later: Vec<(String, u32)>,
        plain: impl Fn(String) -> AddedToken,
        file: &str,
    ) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
        let names = self.named(file)?;
        let special: HashSet<&str> = names.iter().copied().collect();
        let mut described = BTreeMap::new();
        if let Some(decoder) = &self.added_tokens_decoder {
            at_most(file, FIELD, decoder.len(), MAX_ADDED)?;
            if !later.is_empty() {
                log::debug!("{file} describes tokens, so added_tokens.json is not read");
            }
            for (name, description) in decoder {
                let id: u32 =
                    name.parse().map_err(|_| invalid(file, FIELD, &quoted(name), "the id of a token"))?;
                if !description.content.is_empty() {
                    let is_special = special.contains(description.content.as_str());
                    described.insert(id, description.token(is_special));
                }
            }
        } else {
            let later = later.into_iter().filter(|(content, _)| !content.is_empty());
            described.extend(later.map(|(content, id)| (id, plain(content))));
        }
        let ids: HashMap<&str, u32> = vocab.iter().map(|(token, id)| (token.as_str(), *id)).collect();
        let size = u32::try_from(vocab.len()).unwrap_or(u32::MAX);
        let mut places: HashMap<String, usize> =
            listed.iter().enumerate().map(|(place, (_, token))| (token.content.clone(), place)).collect();
        let past = |tokens: &[(u32, AddedToken)]| tokens.iter().map(|(id, _)| id.saturating_add(1)).max();
        let mut next = past(&listed).unwrap_or_default().max(size);
        for (given, token) in described {
            if let Some((_, old)) = places.get(&token.content).and_then(|place| listed.get_mut(*place)) {
                *old = token;
                continue;
            }
            let id = ids.get(token.content.as_str()).copied().unwrap_or_else(|| {
                let id = next;
                next = next.saturating_add(1);
                id
            });
            if id != given {
                log::warn!("{file}: {} is token {id}, not {given}", quoted(&token.content));
            }
            places.insert(token.content.clone(), listed.len());
            listed.push((id, token));
        }
        let known: HashSet<String> = places.into_keys().collect();
        let mut named = HashSet::new();
        for name in names.into_iter().filter(|name| !known.contains(*name)) {
            if named.insert(name) {
                let id = ids.get(name).copied().unwrap_or_else(|| {
                    let id = next;
                    next = next.saturating_add(1);
                    log::info!(
                        "{file}: {} is the name of a special token and no token yet; it becomes {id}",
                        quoted(name)
                    );
                    id
                });
                listed.push((id, AddedToken::from(name, true)));
            }
        }
        Ok(listed)
    }
}

/// The spelling of a token that a value gives, plain or inside a description.
fn spelling(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The id of a named token.
pub(super) fn id_of(name: Option<&str>, added: &[(u32, AddedToken)], vocab: &[(String, u32)]) -> Option<u32> {
    let name = name?;
    let listed = added.iter().map(|(id, token)| (&token.content, id));
    let found = listed.chain(vocab.iter().map(|(token, id)| (token, id))).find(|(token, _)| **token == name);
    found.map(|(_, id)| *id)
}
