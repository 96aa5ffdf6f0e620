//! The tokenizer inside a GGUF file: byte-level byte pairs, or the pieces of SentencePiece.
//!
//! GGUF names the pre-tokenizer instead of describing it, so every name accepted (`splits`) is a promise about the
//! exact split; a name that is not known is refused, because a wrong split gives plausible, wrong ids.

use tokenizers::AddedToken;

use super::error::TokenizerError;
use super::model::{MAX_MERGES, MergeSpec, ModelSpec};
use super::pieces::Spelling;
use super::sentencepiece::{Algorithm, Kind, PieceSpec, Spaces};
use super::spec::{Built, Fields, MAX_VOCAB, Spec, at_most, invalid, unsupported};
use super::splits;
use crate::model_file::{GgufTokenizer, quoted};

/// A name of `tokenizer.ggml.pre` for each split that is known, the most common first.
#[cfg(feature = "convert")]
pub(crate) const NAMES: &[&str] = &[
    "gpt-2",
    "llama-bpe",
    "qwen2",
    "smollm",
    "dbrx",
    "deepseek-v3",
    "deepseek-llm",
    "deepseek-coder",
    "falcon",
    "default",
];

const FIELDS: Fields = Fields {
    vocab: "tokenizer.ggml.tokens",
    token: "tokenizer.ggml.tokens[]",
    merges: "tokenizer.ggml.merges",
    scores: "tokenizer.ggml.scores",
    added: "tokenizer.ggml.token_type",
    affixes: "tokenizer.ggml.add_bos_token",
    unk: "tokenizer.ggml.unknown_token_id",
    bos: "tokenizer.ggml.bos_token_id",
    eos: "tokenizer.ggml.eos_token_id",
};

/// Builds the tokenizer of a GGUF file; `file` is the name that errors use.
///
/// # Errors
/// A model or pre-tokenizer that is not known, and everything that does not fit together.
pub(super) fn build(source: &GgufTokenizer, file: &str) -> Result<Built, TokenizerError> {
    at_most(file, FIELDS.vocab, source.tokens.len(), MAX_VOCAB)?;
    let has_token = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < source.tokens.len());
    for (field, id) in [(FIELDS.unk, source.unk), ("tokenizer.ggml.padding_token_id", source.pad)] {
        if let Some(id) = id.filter(|id| !has_token(id)) {
            return Err(invalid(file, field, &id.to_string(), "the id of a token"));
        }
    }
    let (model, pre_tokenizer, spelling) = match source.model.as_str() {
        "gpt2" => {
            let split = splits::named(source.pre.as_deref(), file)?;
            (
                byte_pairs(source, split.ignore_merges, file)?,
                Some(split.pre_tokenizer(file)?),
                Spelling::ByteLevel,
            )
        }
        "llama" => pieces(source, Algorithm::ByScore, file)?,
        "t5" => pieces(source, Algorithm::Likeliest { single: true }, file)?,
        other => {
            let known = "\"gpt2\", \"llama\", \"t5\"";
            return Err(unsupported(file, "tokenizer.ggml.model", &quoted(other), known));
        }
    };
    Spec {
        fields: &FIELDS,
        vocab: source.tokens.iter().cloned().zip(0u32..).collect(),
        model,
        added: added(source, file)?,
        normalizer: None,
        pre_tokenizer,
        spelling,
        prefix: affix(source.add_bos, source.bos, "tokenizer.ggml.bos_token_id", file)?,
        suffix: affix(source.add_eos, source.eos, "tokenizer.ggml.eos_token_id", file)?,
        // Templates in GGUF files may leave it to the engine, as llama.cpp takes them.
        begins_chats: true,
        bos: source.bos,
        eos: source.eos,
    }
    .build(file)
}

/// Merges of bytes. The unknown token is never produced: bytes without a token vanish, in llama.cpp and in transformers.
fn byte_pairs(source: &GgufTokenizer, ignore_merges: bool, file: &str) -> Result<ModelSpec, TokenizerError> {
    at_most(file, FIELDS.merges, source.merges.len(), MAX_MERGES)?;
    optional(file, "tokenizer.ggml.token_type", source.token_types.len(), source.tokens.len())?;
    // Byte-pair encoding has no use for the scores, but a wrong length says that the file is broken.
    optional(file, FIELDS.scores, source.scores.len(), source.tokens.len())?;
    if let Some(id) = source.token_types.iter().position(|kind| *kind == 6) {
        let field = format!("{}[{id}]", FIELDS.added);
        return Err(invalid(file, &field, "6", "1 to 5, for a byte-level model has no byte tokens"));
    }
    Ok(ModelSpec::Merges(MergeSpec {
        merges: merges(&source.merges, file)?,
        ignore_merges,
        ..MergeSpec::default()
    }))
}

/// The pieces of SentencePiece with their scores and kinds.
fn pieces(
    source: &GgufTokenizer,
    algorithm: Algorithm,
    file: &str,
) -> Result<(ModelSpec, Option<tokenizers::PreTokenizerWrapper>, Spelling), TokenizerError> {
    if source.has_charsmap {
        let field = "tokenizer.ggml.precompiled_charsmap";
        return Err(unsupported(file, field, "a table of characters", "none: text is taken as it is"));
    }
    for (field, len) in [(FIELDS.added, source.token_types.len()), (FIELDS.scores, source.scores.len())] {
        if len != source.tokens.len() {
            return Err(invalid(file, field, &format!("{len} entries"), "one for every token"));
        }
    }
    let kinds = source.token_types.iter().enumerate().map(|(id, number)| kind(*number, id, file));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    let unknown =
        || kinds.iter().position(|kind| *kind == Kind::Unknown).and_then(|id| u32::try_from(id).ok());
    let byte_fallback = kinds.contains(&Kind::Byte);
    let spec = PieceSpec {
        algorithm,
        unk: source.unk.or_else(unknown),
        byte_fallback,
        spaces: Some(Spaces { prefix: source.add_space_prefix, collapse: source.remove_extra_whitespaces }),
        pieces: source.scores.iter().map(|score| f64::from(*score)).zip(kinds).collect(),
    };
    let spelling = Spelling::Pieces { byte_fallback, strip_first_space: source.add_space_prefix };
    Ok((ModelSpec::Pieces(spec), None, spelling))
}

/// "left right" with exactly one space: byte-level spellings hold none.
fn merges(lines: &[String], file: &str) -> Result<Vec<(String, String)>, TokenizerError> {
    let split = |(i, line): (usize, &String)| match line.split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
        _ => Err(invalid(file, &format!("{}[{i}]", FIELDS.merges), &quoted(line), "two parts and one space")),
    };
    lines.iter().enumerate().map(split).collect()
}

/// Control, unknown and user defined tokens are found in the text before anything else; the others are not.
fn added(source: &GgufTokenizer, file: &str) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
    let mut added = Vec::new();
    for ((id, number), token) in source.token_types.iter().enumerate().zip(&source.tokens) {
        let special = match kind(*number, id, file)? {
            Kind::Normal | Kind::Unused | Kind::Byte => continue,
            Kind::Unknown | Kind::Control => true,
            Kind::UserDefined => false,
        };
        // No vocabulary has more than 2^20 tokens.
        let id = u32::try_from(id).unwrap_or(u32::MAX);
        let strips = source.takes_space_after(token);
        added.push((id, AddedToken::from(token.clone(), special).normalized(false).rstrip(strips)));
    }
    Ok(added)
}

/// The kind of token `id` from its number.
fn kind(number: i32, id: usize, file: &str) -> Result<Kind, TokenizerError> {
    let field = || format!("{}[{id}]", FIELDS.added);
    Kind::of(number.into()).ok_or_else(|| invalid(file, &field(), &number.to_string(), "1 to 6"))
}

/// The id to put before or after a text, if the file wants one there.
fn affix(wanted: bool, id: Option<u32>, field: &str, file: &str) -> Result<Vec<u32>, TokenizerError> {
    match id {
        None if wanted => Err(invalid(file, field, "no value", "an id, for the file asks to add it")),
        id => Ok(id.filter(|_| wanted).into_iter().collect()),
    }
}

/// An array that is absent or has one entry per token.
fn optional(file: &str, field: &str, len: usize, tokens: usize) -> Result<(), TokenizerError> {
    if len == 0 || len == tokens {
        return Ok(());
    }
    Err(invalid(file, field, &format!("{len} entries"), "none, or one for every token"))
}
