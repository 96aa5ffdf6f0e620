//! What cuts a stretch of text into tokens: merges by rank, which the `tokenizers` crate carries out, or pieces by
//! score, which are our own (`sentencepiece`).
//!
//! Both stand behind the crate's trait, so that it finds added tokens, normalizes and splits for either in one way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tokenizers::Token;
use tokenizers::models::bpe::{BPE, BpeTrainer};

use super::error::TokenizerError;
use super::sentencepiece::{PieceSpec, Pieces};
use super::spec::{Fields, at_most, build_error, invalid};
use crate::model_file::quoted;

/// Most merges; the largest published tokenizers have 512 Ki.
pub(crate) const MAX_MERGES: usize = 1 << 20;

/// A model as read, not yet checked.
pub(super) enum ModelSpec {
    Merges(MergeSpec),
    Pieces(PieceSpec),
}

/// Byte-pair encoding by a list of merges.
#[derive(Default)]
pub(super) struct MergeSpec {
    /// Left and right part, best first.
    pub merges: Vec<(String, String)>,
    /// Token for characters that are not in the vocabulary; without one they vanish, as in the reference.
    pub unk: Option<String>,
    pub fuse_unk: bool,
    pub byte_fallback: bool,
    /// Whether a whole word of the vocabulary is taken before any merge.
    pub ignore_merges: bool,
}

impl ModelSpec {
    /// Checks the model against its vocabulary and builds it.
    ///
    /// # Errors
    /// [`TokenizerError::TooLarge`] and [`TokenizerError::Invalid`] naming the field; [`TokenizerError::Build`] where
    /// the crate refuses what passed.
    pub(super) fn build(
        self,
        vocab: Vec<(String, u32)>,
        fields: &Fields,
        file: &str,
    ) -> Result<Model, TokenizerError> {
        match self {
            Self::Merges(spec) => spec.build(vocab, fields, file),
            Self::Pieces(spec) => Pieces::new(vocab, spec, fields, file).map(Model::Pieces),
        }
    }
}

impl MergeSpec {
    fn build(self, vocab: Vec<(String, u32)>, fields: &Fields, file: &str) -> Result<Model, TokenizerError> {
        self.check(&vocab, fields, file)?;
        let mut model = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<tokenizers::models::bpe::Vocab>(), self.merges)
            .fuse_unk(self.fuse_unk)
            .byte_fallback(self.byte_fallback)
            .ignore_merges(self.ignore_merges)
            // The cache lives in a thread local that outlives the tokenizer; words are short enough without it.
            .cache_capacity(0);
        if let Some(unk) = self.unk {
            model = model.unk_token(unk);
        }
        model.build().map(|model| Model::Merges(Box::new(model))).map_err(|error| build_error(file, &error))
    }

    /// Merges name known parts and make known tokens; so does the token for unknown characters.
    fn check(&self, vocab: &[(String, u32)], fields: &Fields, file: &str) -> Result<(), TokenizerError> {
        let known: HashSet<&str> = vocab.iter().map(|(token, _)| token.as_str()).collect();
        at_most(file, fields.merges, self.merges.len(), MAX_MERGES)?;
        let mut joined = String::new();
        for (i, (left, right)) in self.merges.iter().enumerate() {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            let parts_known =
                !left.is_empty() && !right.is_empty() && known.contains(&**left) && known.contains(&**right);
            if !parts_known || !known.contains(&*joined) {
                let field = format!("{}[{i}]", fields.merges);
                let value = format!("{} + {}", quoted(left), quoted(right));
                return Err(invalid(
                    file,
                    &field,
                    &value,
                    "both parts and their concatenation in the vocabulary",
                ));
            }
        }
        match &self.unk {
            Some(unk) if !known.contains(&**unk) => {
                Err(invalid(file, fields.unk, &quoted(unk), "a token of the vocabulary"))
            }
            _ => Ok(()),
        }
    }
}

/// A model, checked and ready.
pub(super) enum Model {
    Merges(Box<BPE>),
    Pieces(Pieces),
}

impl tokenizers::Model for Model {
    /// Nothing is trained here; the trait wants a type.
    type Trainer = BpeTrainer;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Merges(model) => model.tokenize(text),
            // Nobody asks for the spellings and places of tokens, only for their ids.
            Self::Pieces(model) => {
                Ok(model.encode(text).into_iter().map(|id| Token::new(id, String::new(), (0, 0))).collect())
            }
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Merges(model) => model.token_to_id(token),
            Self::Pieces(model) => model.id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Merges(model) => model.id_to_token(id),
            Self::Pieces(model) => model.spelling(id).map(str::to_owned),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Merges(model) => model.get_vocab(),
            Self::Pieces(model) => model.ids().map(|(token, id)| (token.to_owned(), id)).collect(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Merges(model) => model.get_vocab_size(),
            Self::Pieces(model) => model.ids().len(),
        }
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a tokenizer is not written".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}
