//! One description of a tokenizer, checked as a whole, and the only way into the `tokenizers` crate.
//!
//! The crate trusts its input: a crafted `tokenizer.json` makes it panic, which ends a WebAssembly module for good.
//! So it never sees a file. The readers (`validate` for tokenizer.json, `gguf`, `sentencepiece::file`) fill a [`Spec`]
//! with the components they know; [`Spec::build`] then checks everything that relates two fields (ids, merges, special
//! tokens), because those rules are the same for every container, and constructs the crate's types itself.

use std::collections::HashSet;

use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder, TokenizerImpl,
};

use super::error::{TokenizerError, reason};
use super::model::{Model, ModelSpec};
use super::outside::Finder;
use super::pieces::Spelling;
use crate::model_file::quoted;

/// Most entries of a vocabulary; the largest published ones have 256 Ki.
pub(super) const MAX_VOCAB: usize = 1 << 20;
/// Most unused ids below the largest id: padding to a round number is common, a table made of holes is an attack.
pub(super) const MAX_HOLES: usize = 4096;
/// Most bytes of one token's spelling.
pub(super) const MAX_TOKEN_BYTES: usize = 4096;
/// Most added tokens, and most bytes of all their contents: the crate builds one automaton of them.
pub(super) const MAX_ADDED: usize = 1 << 14;
pub(super) const MAX_ADDED_BYTES: usize = 1 << 20;
/// Most ids put before or after a text.
pub(super) const MAX_AFFIX: usize = 16;

/// What the `tokenizers` crate keeps of a tokenizer here: text to ids and nothing else.
pub(super) type Encoder =
    TokenizerImpl<Model, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The names that errors use for the parts of a [`Spec`], which differ by container.
#[derive(Debug)]
pub(super) struct Fields {
    pub vocab: &'static str,
    /// One entry of the vocabulary.
    pub token: &'static str,
    pub merges: &'static str,
    pub scores: &'static str,
    pub added: &'static str,
    pub affixes: &'static str,
    pub unk: &'static str,
    pub bos: &'static str,
    pub eos: &'static str,
}

/// A tokenizer, as read and not yet checked as a whole.
pub(super) struct Spec {
    pub fields: &'static Fields,
    /// Spelling and id, in the order of the file.
    pub vocab: Vec<(String, u32)>,
    pub model: ModelSpec,
    /// Tokens found in the text before anything else, with the id that the file gives them.
    pub added: Vec<(u32, AddedToken)>,
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokenizer: Option<PreTokenizerWrapper>,
    pub spelling: Spelling,
    /// Ids put before and after a text when special tokens are asked for.
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
    /// Whether a conversation begins with the prefix, too, where its template does not write it.
    pub begins_chats: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

/// A [`Spec`] that has been checked and built.
pub(super) struct Built {
    pub encoder: Encoder,
    /// Finds added tokens where text from outside must not become some of them.
    pub finder: Finder,
    /// The exact bytes of every token by id; `None` for an unused id.
    pub table: Vec<Option<Box<[u8]>>>,
    /// Ids of tokens that are found in the text before anything else, and of the special ones among them; both sorted.
    pub added: Vec<u32>,
    pub special: Vec<u32>,
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
    pub begins_chats: bool,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub spelling: Spelling,
}

impl Spec {
    /// Checks every relation between the parts and builds the tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError::TooLarge`] and [`TokenizerError::Invalid`] naming the field; [`TokenizerError::Build`] where
    /// the crate refuses what passed.
    pub(super) fn build(self, file: &str) -> Result<Built, TokenizerError> {
        let mut table = self.check_vocab(file)?;
        self.check_added(file, &mut table)?;
        self.check_ids(file, &table)?;
        let mut tokens: Vec<(u32, bool)> =
            self.added.iter().map(|(id, token)| (*id, token.special)).collect();
        tokens.sort_unstable();
        let model = self.model.build(self.vocab, self.fields, file)?;
        Ok(Built {
            finder: Finder::new(&self.added, self.normalizer.as_ref()),
            encoder: encoder(model, self.normalizer, self.pre_tokenizer, &self.added, self.fields, file)?,
            table,
            added: tokens.iter().map(|(id, _)| *id).collect(),
            special: tokens.iter().filter(|(_, special)| *special).map(|(id, _)| *id).collect(),
            prefix: self.prefix,
            suffix: self.suffix,
            begins_chats: self.begins_chats,
            bos: self.bos,
            eos: self.eos,
            spelling: self.spelling,
        })
    }

    /// Sizes, and one id for each spelling and the other way round. Returns the table of bytes by id.
    fn check_vocab(&self, file: &str) -> Result<Vec<Option<Box<[u8]>>>, TokenizerError> {
        let field = self.fields.vocab;
        at_most(file, field, self.vocab.len(), MAX_VOCAB)?;
        at_most(file, self.fields.added, self.added.len(), MAX_ADDED)?;
        let ids = self.vocab.iter().map(|(_, id)| *id).chain(self.added.iter().map(|(id, _)| *id));
        let Some(largest) = ids.max().and_then(|id| usize::try_from(id).ok()) else {
            return Err(invalid(file, field, "no entry", "at least one token"));
        };
        // Known to be small before the table is made, so that no id of the file decides how much memory it takes.
        let entries = self.vocab.len().saturating_add(self.added.len());
        at_most(file, field, largest, entries.saturating_add(MAX_HOLES).min(MAX_VOCAB))?;
        let mut table = vec![None; largest.saturating_add(1)];
        let mut spellings = HashSet::with_capacity(self.vocab.len());
        for (token, id) in &self.vocab {
            at_most(file, self.fields.token, token.len(), MAX_TOKEN_BYTES)?;
            if !spellings.insert(token.as_str()) {
                return Err(invalid(file, field, &quoted(token), "every token once"));
            }
            let place = usize::try_from(*id).ok().and_then(|id| table.get_mut(id));
            match place {
                Some(place @ None) => *place = Some(self.spelling.bytes(token)),
                _ => {
                    return Err(invalid(
                        file,
                        field,
                        &format!("id {id} of {}", quoted(token)),
                        "every id once",
                    ));
                }
            }
        }
        Ok(table)
    }

    /// Added tokens: bounded, each content and id once, and found in the text in one way only. Fills their bytes in.
    fn check_added(&self, file: &str, table: &mut [Option<Box<[u8]>>]) -> Result<(), TokenizerError> {
        let mut bytes = 0usize;
        let mut contents = HashSet::new();
        let mut ids = HashSet::new();
        let eats_right = self.added.iter().any(|(_, token)| token.rstrip);
        for (i, (id, token)) in self.added.iter().enumerate() {
            let field = format!("{}[{i}]", self.fields.added);
            at_most(file, &field, token.content.len(), MAX_TOKEN_BYTES)?;
            bytes = bytes.saturating_add(token.content.len());
            at_most(file, self.fields.added, bytes, MAX_ADDED_BYTES)?;
            if token.content.is_empty() || !contents.insert(token.content.as_str()) || !ids.insert(*id) {
                let value = format!("{} with id {id}", quoted(&token.content));
                return Err(invalid(
                    file,
                    &field,
                    &value,
                    "a content that is not empty, every content and every id once",
                ));
            }
            // After a token that takes the white space on its right, a match starting in that space would overlap it.
            if eats_right && token.content.starts_with(char::is_whitespace) {
                return Err(invalid(
                    file,
                    &field,
                    &quoted(&token.content),
                    "no leading white space beside a token with rstrip",
                ));
            }
            if let Some(place) = usize::try_from(*id).ok().and_then(|id| table.get_mut(id)) {
                // Found as it is and shown as it is, whatever the alphabet of the model.
                *place = Some(token.content.as_bytes().into());
            }
        }
        Ok(())
    }

    /// Every id that the file names on its own has a token.
    fn check_ids(&self, file: &str, table: &[Option<Box<[u8]>>]) -> Result<(), TokenizerError> {
        let check = |field: &str, id: u32| match usize::try_from(id).ok().and_then(|id| table.get(id)) {
            Some(Some(_)) => Ok(()),
            _ => Err(invalid(file, field, &id.to_string(), "the id of a token")),
        };
        for ids in [&self.prefix, &self.suffix] {
            at_most(file, self.fields.affixes, ids.len(), MAX_AFFIX)?;
            ids.iter().try_for_each(|id| check(self.fields.affixes, *id))?;
        }
        self.bos.iter().try_for_each(|id| check(self.fields.bos, *id))?;
        self.eos.iter().try_for_each(|id| check(self.fields.eos, *id))
    }
}

/// Hands the checked parts to the crate.
fn encoder(
    model: Model,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    added: &[(u32, AddedToken)],
    fields: &Fields,
    file: &str,
) -> Result<Encoder, TokenizerError> {
    let refused = |error: tokenizers::Error| build_error(file, &error);
    let mut encoder = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(normalizer)
        .with_pre_tokenizer(pre_tokenizer)
        .build()
        .map_err(refused)?;
    encoder.add_tokens(added.iter().map(|(_, token)| token.clone())).map_err(refused)?;
    // The crate numbers added tokens itself and only warns where the file says otherwise.
    for (i, (id, token)) in added.iter().enumerate() {
        let given = encoder.token_to_id(&token.content);
        if given != Some(*id) {
            let value = format!("{} with id {id}", quoted(&token.content));
            let field = format!("{}[{i}]", fields.added);
            return Err(invalid(file, &field, &value, "the id of the vocabulary, or the next one after it"));
        }
    }
    Ok(encoder)
}

/// A count or size within its bound, or an error.
pub(super) fn at_most(file: &str, field: &str, value: usize, limit: usize) -> Result<(), TokenizerError> {
    if value <= limit {
        return Ok(());
    }
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Err(TokenizerError::TooLarge {
        file: file.to_owned(),
        field: field.to_owned(),
        value: number(value),
        limit: number(limit),
    })
}

/// [`TokenizerError::Build`] with the words of the crate.
pub(super) fn build_error(file: &str, error: &tokenizers::Error) -> TokenizerError {
    TokenizerError::Build { file: file.to_owned(), reason: reason(error) }
}

/// [`TokenizerError::Invalid`]; `value` is already quoted.
pub(super) fn invalid(file: &str, field: &str, value: &str, expected: &'static str) -> TokenizerError {
    TokenizerError::Invalid {
        file: file.to_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

/// [`TokenizerError::Unsupported`]; `value` is already quoted.
pub(super) fn unsupported(file: &str, field: &str, value: &str, supported: &'static str) -> TokenizerError {
    TokenizerError::Unsupported {
        file: file.to_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        supported,
    }
}
