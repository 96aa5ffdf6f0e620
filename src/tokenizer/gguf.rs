//! The byte-pair tokenizer inside a GGUF file.
//!
//! GGUF names the pre-tokenizer instead of describing it, so every name accepted here is a promise about the exact
//! split; a name that is not known is refused, because a wrong split gives plausible, wrong ids.

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper};

use super::error::{TokenizerError, quote};
use super::pieces::Spelling;
use super::spec::{Built, Fields, MAX_MERGES, MAX_VOCAB, Spec, at_most, invalid, unsupported};
use crate::model_file::GgufTokenizer;

const FIELDS: Fields = Fields {
    vocab: "tokenizer.ggml.tokens",
    token: "tokenizer.ggml.tokens[]",
    merges: "tokenizer.ggml.merges",
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
    if source.model != "gpt2" {
        return Err(unsupported(file, "tokenizer.ggml.model", &quote(&source.model), "\"gpt2\""));
    }
    let pre_tokenizer = pre_tokenizer(source.pre.as_deref(), file)?;
    at_most(file, FIELDS.vocab, source.tokens.len(), MAX_VOCAB)?;
    at_most(file, FIELDS.merges, source.merges.len(), MAX_MERGES)?;
    same_length(file, "tokenizer.ggml.token_type", source.token_types.len(), source.tokens.len())?;
    // Byte-pair encoding has no use for the scores, but a wrong length says that the file is broken.
    same_length(file, "tokenizer.ggml.scores", source.scores.len(), source.tokens.len())?;
    let has_token = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < source.tokens.len());
    for (field, id) in [(FIELDS.unk, source.unk), ("tokenizer.ggml.padding_token_id", source.pad)] {
        if let Some(id) = id.filter(|id| !has_token(id)) {
            return Err(invalid(file, field, &id.to_string(), "the id of a token"));
        }
    }
    Spec {
        fields: &FIELDS,
        vocab: source.tokens.iter().cloned().zip(0u32..).collect(),
        merges: merges(&source.merges, file)?,
        // The unknown token is never produced: bytes without a token vanish, in llama.cpp and in transformers.
        unk: None,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        added: added(source, file)?,
        normalizer: None,
        pre_tokenizer: Some(pre_tokenizer),
        spelling: Spelling::ByteLevel,
        prefix: affix(source.add_bos, source.bos, "tokenizer.ggml.bos_token_id", file)?,
        suffix: affix(source.add_eos, source.eos, "tokenizer.ggml.eos_token_id", file)?,
        bos: source.bos,
        eos: source.eos,
    }
    .build(file)
}

/// The names of `tokenizer.ggml.pre` that are known.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) const NAMES: &[&str] = &["gpt-2", "smollm"];

/// The split that a name stands for (llama.cpp, `llm_tokenizer_bpe`): "smollm" isolates every `\p{N}` first.
///
/// "default" and a missing name mean a split of llama.cpp's own that no published tokenizer was trained with.
fn pre_tokenizer(name: Option<&str>, file: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
    let byte_level = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, true));
    match name {
        Some("gpt-2") => Ok(byte_level),
        Some("smollm") => Ok(PreTokenizerWrapper::Sequence(Sequence::new(vec![
            PreTokenizerWrapper::Digits(Digits::new(true)),
            byte_level,
        ]))),
        other => {
            let value = other.map_or_else(|| "no value".to_owned(), quote);
            Err(unsupported(file, "tokenizer.ggml.pre", &value, "\"gpt-2\", \"smollm\""))
        }
    }
}

/// "left right" with exactly one space: byte-level spellings hold none.
fn merges(lines: &[String], file: &str) -> Result<Vec<(String, String)>, TokenizerError> {
    let split = |(i, line): (usize, &String)| match line.split_once(' ') {
        Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
        _ => Err(invalid(file, &format!("{}[{i}]", FIELDS.merges), &quote(line), "two parts and one space")),
    };
    lines.iter().enumerate().map(split).collect()
}

/// Control and user defined tokens are found in the text before anything else; unused ones and plain ones are not.
fn added(source: &GgufTokenizer, file: &str) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
    let mut added = Vec::new();
    for (id, (token, kind)) in (0u32..).zip(source.tokens.iter().zip(&source.token_types)) {
        let special = match kind {
            1 | 5 => continue,
            2 | 3 => true,
            4 => false,
            _ => {
                let field = format!("{}[{id}]", FIELDS.added);
                return Err(invalid(
                    file,
                    &field,
                    &kind.to_string(),
                    "1 to 5, for a byte-level model has no byte tokens",
                ));
            }
        };
        added.push((id, AddedToken::from(token.clone(), special).normalized(false)));
    }
    Ok(added)
}

/// The id to put before or after a text, if the file wants one there.
fn affix(wanted: bool, id: Option<u32>, field: &str, file: &str) -> Result<Vec<u32>, TokenizerError> {
    match id {
        None if wanted => Err(invalid(file, field, "no value", "an id, for the file asks to add it")),
        id => Ok(id.filter(|_| wanted).into_iter().collect()),
    }
}

/// An array that is absent or has one entry per token.
fn same_length(file: &str, field: &str, len: usize, tokens: usize) -> Result<(), TokenizerError> {
    if len == 0 || len == tokens {
        return Ok(());
    }
    Err(invalid(file, field, &format!("{len} entries"), "none, or one for every token"))
}
