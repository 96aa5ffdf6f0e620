//! What cuts a stretch of text into tokens: merges by rank, which the `tokenizers` crate carries out, or pieces by
//! score, which are our own (`sentencepiece`).
//!
//! Both stand behind the crate's trait, so that it finds added tokens, normalizes and splits for either in one way.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use tokenizers::Token;
use tokenizers::models::bpe::{BPE, BpeTrainer};

use super::error::TokenizerError;
use super::sentencepiece::{Barred, PieceSpec, Pieces};
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

/// A token of which nobody asks for the spelling and the place, only for the id.
fn token(id: u32) -> Token {
    Token::new(id, String::new(), (0, 0))
}

impl Model {
    /// The tokens of a text none of which may be one that `barred` names, whatever the text spells; the unknown token
    /// may only stand for what the vocabulary lacks.
    ///
    /// Vocabularies hold their special tokens as ordinary entries, too, and some would be reached: a unigram
    /// vocabulary by its best score, one of byte pairs as a whole word.
    pub(super) fn tokenize_barred(&self, text: &str, barred: Barred<'_>) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Pieces(model) => Ok(model.encode(text, barred).into_iter().map(token).collect()),
            Self::Merges(model) => {
                let mut found = Vec::new();
                let mut waiting = vec![text];
                while let Some(text) = waiting.pop() {
                    let tokens = tokenizers::Model::tokenize(&**model, text)?;
                    let spelled = |token: &Token| {
                        barred(token.id) && text.get(token.offsets.0..token.offsets.1) == Some(&*token.value)
                    };
                    let cuts: Vec<(usize, usize)> =
                        tokens.iter().filter(|token| spelled(token)).map(|token| token.offsets).collect();
                    if cuts.is_empty() {
                        found.extend(tokens);
                        continue;
                    }
                    // Cut behind the first character of each; what lies between is looked at again, for less text
                    // may merge in another way. A token of one character has nothing else to become, and vanishes.
                    let (mut parts, mut from) = (Vec::new(), 0usize);
                    for (start, end) in cuts {
                        let first = text.get(start..end).and_then(|token| token.chars().next());
                        let cut = start.saturating_add(first.map_or(0, char::len_utf8));
                        parts.extend(text.get(from..if cut < end { cut } else { start }));
                        from = cut;
                    }
                    parts.extend(text.get(from..));
                    waiting.extend(parts.into_iter().rev().filter(|part| !part.is_empty()));
                }
                Ok(found)
            }
        }
    }
}

impl tokenizers::Model for Model {
    /// Nothing is trained here; the trait wants a type.
    type Trainer = BpeTrainer;

    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Merges(model) => model.tokenize(text),
            // Nobody asks for the spellings and places of tokens, only for their ids.
            Self::Pieces(model) => Ok(model.encode(text, &|_| false).into_iter().map(token).collect()),
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
