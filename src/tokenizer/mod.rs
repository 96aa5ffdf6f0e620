//! Text to tokens and back, sentences and inserted anchors, chat templates. Knows nothing of the GPU.
//!
//! Splitting, and merging by rank, is the `tokenizers` crate's; this room decides what may be handed to it, and cuts
//! the pieces of SentencePiece itself (`sentencepiece`). A file goes through one of three readers (`validate` for
//! tokenizer.json, `gguf`, `sentencepiece::file`), which accept only components they know, into one description
//! (`spec`) whose parts are checked against each other before the crate sees them. The way back, from ids to bytes, is
//! a table made once (`pieces`), because anchors and streaming need exact bytes where the crate gives text.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "a test that panics fails, as it should"
    )
)]

mod added;
mod anchors;
mod chat;
mod components;
mod error;
mod gguf;
mod jinja;
mod model;
mod origin;
mod outside;
mod pieces;
mod reasoning;
mod sentencepiece;
mod sentences;
mod spec;
mod splits;
mod stops;
mod stream;
mod turns;
mod validate;

use std::sync::Arc;

pub use anchors::{ANCHOR_MARK, mark_sentences};
pub use chat::{ChatTemplate, MAX_PROMPT_BYTES, MAX_TEMPLATE_BYTES, Message, TemplateArguments};
pub use error::TokenizerError;
pub use jinja::Date;
pub use reasoning::{Reasoning, ReasoningStream, Stretch};
pub use sentences::sentences;
pub use stops::{MAX_STOP_BYTES, MAX_STOPS, StopStrings};
pub use stream::DecodeStream;
pub use turns::Turns;

use crate::model_file::TokenizerSource;
use error::reason;
#[cfg(feature = "convert")]
pub(crate) use gguf::NAMES as PRE_TOKENIZERS;
#[cfg(feature = "convert")]
pub(crate) use model::MAX_MERGES;
#[cfg(feature = "convert")]
pub(crate) use sentencepiece::file::PieceTable;

/// A tokenizer, checked and ready. Clones share one vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    built: Arc<spec::Built>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.bos())
            .field("eos", &self.eos())
            .finish()
    }
}

impl Tokenizer {
    /// Builds the tokenizer that a model brings; `label` is the name of the model in errors.
    ///
    /// # Errors
    /// [`TokenizerError::Missing`] for [`TokenizerSource::None`]; else what the file cannot be accepted for, with
    /// file, field and value.
    pub fn from_source(source: &TokenizerSource, label: &str) -> Result<Self, TokenizerError> {
        let built = match source {
            TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config } => {
                validate::build(tokenizer_json, tokenizer_config.as_deref(), label)?
            }
            TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config } => {
                sentencepiece::file::build(
                    model,
                    added_tokens.as_deref(),
                    tokenizer_config.as_deref(),
                    label,
                )?
            }
            TokenizerSource::Gguf(source) => gguf::build(source, label)?,
            TokenizerSource::None => return Err(TokenizerError::Missing { file: label.to_owned() }),
        };
        Ok(Self { built: Arc::new(built) })
    }

    /// The ids of `text`. Special tokens written in the text become their ids, as in the reference implementation.
    ///
    /// `add_special` also puts the tokens around it that the file asks for (often one at the front, often none).
    /// Bytes for which the vocabulary has neither a token nor a fallback vanish, as in the reference.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the `tokenizers` crate gives up.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .built
            .encoder
            .encode_fast(text, false)
            .map_err(|error| TokenizerError::Encode { reason: reason(&error) })?;
        if !add_special {
            return Ok(encoding.get_ids().to_vec());
        }
        Ok([&self.built.prefix, encoding.get_ids(), &self.built.suffix].concat())
    }

    /// The text of `ids`, with U+FFFD for bytes that are not UTF-8; `skip_special` leaves special tokens out.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] for an id without a token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let mut bytes = Vec::new();
        for &id in ids {
            let token = self
                .bytes(id)
                .ok_or_else(|| TokenizerError::UnknownId { id, vocab_size: self.vocab_size() })?;
            if !(skip_special && self.is_special(id)) {
                bytes.extend_from_slice(token);
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let stripped = text.strip_prefix(' ').filter(|_| self.built.spelling.strips_first_space());
        Ok(stripped.unwrap_or(&text).to_owned())
    }

    /// Decodes generated tokens one by one; special tokens are left out.
    pub fn decode_stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// The exact bytes that a token decodes to, which need not be UTF-8; `None` for an id without a token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.bytes(id).map(<[u8]>::to_vec)
    }

    /// Every token whose exact bytes are `bytes`, special ones included, in order of id.
    pub fn ids_of_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        (0u32..)
            .zip(&self.built.table)
            .filter(|(_, token)| token.as_deref() == Some(bytes))
            .map(|(id, _)| id)
            .collect()
    }

    /// Every token whose bytes end in an ASCII digit: after those a full stop may be a decimal point.
    pub fn ids_ending_in_digit(&self) -> Vec<u32> {
        let ends_in_digit = |token: &[u8]| token.last().is_some_and(u8::is_ascii_digit);
        (0u32..)
            .zip(&self.built.table)
            .filter(|(_, token)| token.as_deref().is_some_and(ends_in_digit))
            .map(|(id, _)| id)
            .collect()
    }

    /// One past the largest id. The model's embedding may have more rows, never fewer.
    pub fn vocab_size(&self) -> u32 {
        u32::try_from(self.built.table.len()).unwrap_or(u32::MAX)
    }

    /// The special tokens that the file puts in front of every text; often one, often none.
    pub fn prefix(&self) -> &[u32] {
        &self.built.prefix
    }

    /// Puts the prefix of the file before the ids of a conversation whose template leaves it to the engine; never twice.
    fn begin_chat(&self, ids: &mut Vec<u32>) {
        if self.built.begins_chats && !ids.starts_with(&self.built.prefix) {
            ids.splice(..0, self.built.prefix.iter().copied());
        }
    }

    /// The token that begins a text, where the file names one.
    pub fn bos(&self) -> Option<u32> {
        self.built.bos
    }

    /// The token that ends a text or a turn, where the file names one.
    pub fn eos(&self) -> Option<u32> {
        self.built.eos
    }

    /// Ids of all special tokens, sorted.
    pub fn special_ids(&self) -> &[u32] {
        &self.built.special
    }

    /// Ids of all tokens that are found in a text before anything else, sorted.
    #[cfg(feature = "convert")]
    pub(crate) fn added_ids(&self) -> &[u32] {
        &self.built.added
    }

    /// Ids put before and after a text where special tokens are asked for.
    #[cfg(feature = "convert")]
    pub(crate) fn affixes(&self) -> (&[u32], &[u32]) {
        (&self.built.prefix, &self.built.suffix)
    }

    /// The rule that splits a text, as tokenizer.json describes it.
    #[cfg(feature = "convert")]
    pub(crate) fn pre_tokenizer(&self) -> serde_json::Value {
        serde_json::to_value(self.built.encoder.get_pre_tokenizer()).unwrap_or_default()
    }

    /// Whether a whole word of the vocabulary is taken before any merge.
    #[cfg(feature = "convert")]
    pub(crate) fn ignores_merges(&self) -> bool {
        match self.built.encoder.get_model() {
            model::Model::Merges(model) => model.ignore_merges,
            model::Model::Pieces(_) => false,
        }
    }

    fn is_special(&self, id: u32) -> bool {
        self.built.special.binary_search(&id).is_ok()
    }

    fn bytes(&self, id: u32) -> Option<&[u8]> {
        usize::try_from(id).ok().and_then(|id| self.built.table.get(id)?.as_deref())
    }
}
