//! `tokenizer.model`, the file that SentencePiece's trainer writes: pieces, and how text was prepared for them.
//!
//! A checkpoint may hold nothing else (Llama 1 and 2, AnLLM), with tokens that came later beside it (`tokenizer::added`).
//! Text is then prepared as SentencePiece does, stretch by stretch between added tokens. `legacy: false` in the config stands for
//! the repaired way, in which a space is put before a text and nowhere else.

use std::collections::HashSet;

use serde::Deserialize;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, PreTokenizerWrapper};

use super::{Algorithm, Kind, PieceSpec, Spaces};
use crate::model_file::quoted;
use crate::model_file::wire::{self, Value};
use crate::tokenizer::added::{self, Settings};
use crate::tokenizer::error::TokenizerError;
use crate::tokenizer::model::ModelSpec;
use crate::tokenizer::pieces::Spelling;
use crate::tokenizer::spec::{Built, Fields, MAX_ADDED, MAX_VOCAB, Spec, at_most, invalid, unsupported};
use crate::tokenizer::validate::{MAX_FILE_BYTES, Vocab, parse};

const FIELDS: Fields = Fields {
    vocab: "pieces",
    token: "pieces.piece",
    merges: "pieces",
    scores: "pieces.score",
    added: "added tokens",
    affixes: "tokenizer_config.json: add_bos_token",
    unk: "trainer_spec.unk_id",
    bos: "bos_token",
    eos: "eos_token",
};

/// What `tokenizer_config.json` says beside the names: whether tokens are put around a text, and how its spaces are taken.
#[derive(Default, Deserialize)]
struct Affixes {
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    legacy: Option<bool>,
    add_prefix_space: Option<bool>,
}

/// The fields of the file that are used, with the values that stand for absent ones.
struct Read {
    pieces: Vec<(String, f64, Kind)>,
    /// 1 unigram, 2 byte pairs.
    model_type: u64,
    byte_fallback: bool,
    space_behind: bool,
    unk: u64,
    bos: u64,
    eos: u64,
    spaces: Spaces,
    escape: bool,
}

/// Builds the tokenizer of a folder without a `tokenizer.json`.
///
/// # Errors
/// What is not a `tokenizer.model`, what is not supported, what does not fit together; with file, field and value.
pub(in crate::tokenizer) fn build(
    model: &[u8],
    added: Option<&[u8]>,
    config: Option<&[u8]>,
    label: &str,
) -> Result<Built, TokenizerError> {
    let file = format!("{label}/tokenizer.model");
    let config_file = format!("{label}/tokenizer_config.json");
    let mut read = Read::of(model, &file)?;
    let algorithm = match read.model_type {
        1 => Algorithm::Likeliest { single: true },
        2 => Algorithm::ByScore,
        other => {
            let known = "1 (unigram), 2 (byte pairs)";
            return Err(unsupported(&file, "trainer_spec.model_type", &other.to_string(), known));
        }
    };
    for (field, found, wanted) in [
        ("trainer_spec.treat_whitespace_as_suffix", read.space_behind, false),
        ("normalizer_spec.escape_whitespaces", read.escape, true),
    ] {
        if found != wanted {
            return Err(unsupported(&file, field, &found.to_string(), if wanted { "true" } else { "false" }));
        }
    }
    let (settings, affixes) = match config {
        Some(config) => {
            let field = "tokenizer_config.json";
            let settings: Settings = parse(config, MAX_FILE_BYTES, &config_file, field)?;
            (settings, parse(config, MAX_FILE_BYTES, &config_file, field)?)
        }
        None => (Settings::default(), Affixes::default()),
    };
    let is_legacy = affixes.legacy != Some(false);
    if affixes.add_prefix_space == Some(false) {
        read.spaces.prefix = false;
    }
    let later: Vocab = match added {
        Some(added) => {
            let file = format!("{label}/added_tokens.json");
            let later: Vocab = parse(added, MAX_FILE_BYTES, &file, "added_tokens.json")?;
            at_most(&file, FIELDS.added, later.0.len(), MAX_ADDED)?;
            later
        }
        None => Vocab(Vec::new()),
    };
    let (pieces, vocab): (Vec<_>, Vec<_>) = read
        .pieces
        .into_iter()
        .zip(0u32..)
        .map(|((spelling, score, kind), id)| ((score, kind), (spelling, id)))
        .unzip();
    let special: Vec<(u32, AddedToken)> = vocab
        .iter()
        .zip(&pieces)
        .filter(|(_, (_, kind))| matches!(kind, Kind::Unknown | Kind::Control))
        .map(|((token, id), _)| (*id, AddedToken::from(token.clone(), true)))
        .collect();
    let names: HashSet<&str> = settings.named(&config_file)?.into_iter().collect();
    let plain = |content: String| {
        let is_special = names.contains(content.as_str());
        if is_legacy {
            // As the tokenizers took them that such checkpoints were trained with.
            AddedToken::from(content, false).lstrip(true).rstrip(true).normalized(false)
        } else {
            AddedToken::from(content, is_special)
        }
    };
    let tokens = settings.complete(special, &vocab, later.0, plain, &config_file)?;
    let id_of = |name: Option<&str>, trained: u64| {
        added::id_of(name, &tokens, &vocab).or_else(|| {
            // Minus one, or any other number that is none of a piece, stands for no such token.
            u32::try_from(trained).ok().filter(|id| vocab.iter().any(|(_, other)| other == id))
        })
    };
    let bos = id_of(settings.bos(), read.bos);
    let eos = id_of(settings.eos(), read.eos);
    let scheme = if read.spaces.prefix { PrependScheme::First } else { PrependScheme::Never };
    let around = |wanted: bool, id: Option<u32>| id.filter(|_| wanted).into_iter().collect::<Vec<_>>();
    Spec {
        fields: &FIELDS,
        spelling: Spelling::Pieces {
            byte_fallback: read.byte_fallback,
            strip_first_space: read.spaces.prefix,
        },
        model: ModelSpec::Pieces(PieceSpec {
            algorithm,
            unk: u32::try_from(read.unk).ok(),
            byte_fallback: read.byte_fallback,
            spaces: is_legacy.then_some(read.spaces),
            pieces,
        }),
        vocab,
        added: tokens,
        normalizer: None,
        pre_tokenizer: (!is_legacy)
            .then(|| PreTokenizerWrapper::Metaspace(Metaspace::new(super::SPACE, scheme, false))),
        prefix: around(affixes.add_bos_token.unwrap_or(true), bos),
        suffix: around(affixes.add_eos_token.unwrap_or(false), eos),
        begins_chats: false,
        bos,
        eos,
    }
    .build(&file)
}

/// The pieces of a `tokenizer.model`, for writing them elsewhere.
#[cfg(feature = "convert")]
pub(crate) struct PieceTable {
    /// Spelling, score, and the number of the kind.
    pub(crate) pieces: Vec<(String, f32, i32)>,
    /// Whether they are merged by score; else the likeliest sequence is taken.
    pub(crate) by_score: bool,
    /// Whether a space is put before a text.
    pub(crate) space_prefix: bool,
    /// Whether spaces at both ends vanish, and all but one of several in a row.
    pub(crate) collapse: bool,
}

#[cfg(feature = "convert")]
impl PieceTable {
    /// Reads them from the file's bytes; `label` is the name of the model in errors.
    ///
    /// # Errors
    /// What is not a `tokenizer.model`.
    pub(crate) fn read(model: &[u8], label: &str) -> Result<Self, TokenizerError> {
        let read = Read::of(model, &format!("{label}/tokenizer.model"))?;
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "scores are 32-bit in the file"
        )]
        let pieces = read.pieces.into_iter().map(|(piece, score, kind)| (piece, score as f32, kind.number()));
        Ok(Self {
            pieces: pieces.collect(),
            by_score: read.model_type == 2,
            space_prefix: read.spaces.prefix,
            collapse: read.spaces.collapse,
        })
    }
}

impl Read {
    fn of(model: &[u8], file: &str) -> Result<Self, TokenizerError> {
        at_most(file, "tokenizer.model", model.len(), MAX_FILE_BYTES)?;
        let mut read = Self {
            pieces: Vec::new(),
            model_type: 1,
            byte_fallback: false,
            space_behind: false,
            unk: 0,
            bos: 1,
            eos: 2,
            spaces: Spaces { prefix: true, collapse: true },
            escape: true,
        };
        for field in fields(model, file, "the file") {
            match field? {
                (1, Value::Bytes(piece)) => {
                    at_most(file, FIELDS.vocab, read.pieces.len().saturating_add(1), MAX_VOCAB)?;
                    let piece = read_piece(piece, read.pieces.len(), file)?;
                    read.pieces.push(piece);
                }
                (2, Value::Bytes(trainer)) => read.trainer(trainer, file)?,
                (3, Value::Bytes(normalizer)) => read.normalizer(normalizer, file)?,
                // Numbers of the trainer, tests of its own, extensions.
                _ => {}
            }
        }
        Ok(read)
    }

    fn trainer(&mut self, message: &[u8], file: &str) -> Result<(), TokenizerError> {
        for field in fields(message, file, "trainer_spec") {
            match field? {
                (3, Value::Number(number)) => self.model_type = number,
                (24, Value::Number(number)) => self.space_behind = number != 0,
                (35, Value::Number(number)) => self.byte_fallback = number != 0,
                (40, Value::Number(number)) => self.unk = number,
                (41, Value::Number(number)) => self.bos = number,
                (42, Value::Number(number)) => self.eos = number,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, message: &[u8], file: &str) -> Result<(), TokenizerError> {
        for field in fields(message, file, "normalizer_spec") {
            match field? {
                (2, Value::Bytes(table)) if !table.is_empty() => {
                    let value = format!("a table of {} bytes", table.len());
                    let field = "normalizer_spec.precompiled_charsmap";
                    return Err(unsupported(file, field, &value, "none: text is taken as it is"));
                }
                (3, Value::Number(number)) => self.spaces.prefix = number != 0,
                (4, Value::Number(number)) => self.spaces.collapse = number != 0,
                (5, Value::Number(number)) => self.escape = number != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Spelling, score and kind of piece `id`.
fn read_piece(message: &[u8], id: usize, file: &str) -> Result<(String, f64, Kind), TokenizerError> {
    let (mut spelling, mut score, mut kind) = (String::new(), 0.0, Kind::Normal);
    let name = format!("pieces[{id}]");
    for field in fields(message, file, &name) {
        match field? {
            (1, Value::Bytes(bytes)) => {
                let field = || format!("{name}.piece");
                let value = || quoted(&String::from_utf8_lossy(bytes));
                let text = str::from_utf8(bytes);
                spelling = text.map_err(|_| invalid(file, &field(), &value(), "UTF-8"))?.to_owned();
            }
            (2, Value::Fixed32(bytes)) => score = f64::from(f32::from_le_bytes(bytes)),
            (3, Value::Number(number)) => {
                let found = i64::try_from(number).ok().and_then(Kind::of);
                let field = || format!("{name}.type");
                kind = found.ok_or_else(|| invalid(file, &field(), &number.to_string(), "1 to 6"))?;
            }
            _ => {}
        }
    }
    Ok((spelling, score, kind))
}

/// The fields of a message, or an error that names it.
fn fields<'a>(
    message: &'a [u8],
    file: &'a str,
    name: &'a str,
) -> impl Iterator<Item = Result<(u64, Value<'a>), TokenizerError>> {
    wire::Fields::of(message)
        .map(move |field| field.ok_or_else(|| invalid(file, name, "a broken field", "a protobuf message")))
}
