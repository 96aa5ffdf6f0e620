//! The tokenizer of a model, from either form into either.
//!
//! Within a form it is copied. From one to the other byte-level tokenizers and SentencePiece's merges are written anew
//! (`from_gguf.rs`, `to_gguf.rs`). Whatever the form has no words for is an error that says what it is, and in the end the
//! ids that old and new give to many texts, every token's own among them, are compared.

mod from_gguf;
mod to_gguf;

use super::{ConvertError, Form, tokenizer_of};
use crate::model_file::{GgufTokenizer, ModelFile, TokenizerSource};
use crate::tokenizer::Tokenizer;

/// One character of each kind that some rule treats in its own way.
const REPRESENTATIVE: [&str; 20] = [
    "a",
    "Z",
    "s",
    "\u{e9}",
    "\u{4e16}",
    "\u{431}",
    "7",
    "0",
    "\u{b2}",
    " ",
    "\n",
    "\r",
    "\t",
    "\u{a0}",
    ".",
    "'",
    "_",
    "+",
    "\u{301}",
    "\u{1f600}",
];

/// What is written of a tokenizer.
pub(super) enum Carried {
    /// Files of the folder.
    Files(Vec<(&'static str, Vec<u8>)>),
    /// Metadata.
    Gguf(GgufTokenizer),
    /// The model has none.
    None,
}

impl Carried {
    pub(super) fn files(self) -> Vec<(&'static str, Vec<u8>)> {
        match self {
            Self::Files(files) => files,
            Self::Gguf(_) | Self::None => Vec::new(),
        }
    }

    pub(super) fn gguf(&self) -> Option<&GgufTokenizer> {
        match self {
            Self::Gguf(tokenizer) => Some(tokenizer),
            Self::Files(_) | Self::None => None,
        }
    }
}

/// The tokenizer of `file` in that form.
pub(super) fn carry(file: &ModelFile, form: Form) -> Result<Carried, ConvertError> {
    let mut carried = match (file.tokenizer(), form) {
        (TokenizerSource::None, _) => Carried::None,
        (TokenizerSource::Gguf(source), Form::Gguf) => Carried::Gguf(source.clone()),
        (TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config }, Form::Safetensors) => {
            let config = tokenizer_config.clone().map(|config| ("tokenizer_config.json", config));
            let json = ("tokenizer.json", tokenizer_json.clone());
            Carried::Files([json].into_iter().chain(config).collect())
        }
        (TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config }, Form::Safetensors) => {
            let others = [("added_tokens.json", added_tokens), ("tokenizer_config.json", tokenizer_config)];
            let others = others.into_iter().filter_map(|(name, bytes)| Some((name, bytes.clone()?)));
            Carried::Files([("tokenizer.model", model.clone())].into_iter().chain(others).collect())
        }
        (TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config }, Form::Gguf) => {
            let (added, config) = (added_tokens.as_deref(), tokenizer_config.as_deref());
            Carried::Gguf(to_gguf::of_pieces(file, model, added, config)?)
        }
        (TokenizerSource::Gguf(source), Form::Safetensors) => Carried::Files(from_gguf::files(file, source)?),
        (TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config }, Form::Gguf) => {
            Carried::Gguf(to_gguf::metadata(file, tokenizer_json, tokenizer_config.as_deref())?)
        }
    };
    if let (Some(template), Form::Safetensors) = (file.chat_template(), form) {
        let template = ("chat_template.jinja", template.as_bytes().to_vec());
        carried = Carried::Files(carried.files().into_iter().chain([template]).collect());
    }
    Ok(carried)
}

/// A text to which two tokenizers give different ids, if one is found.
///
/// Tried are the text of every token, alone and beside letters and digits, because a rule that splits differently matters
/// where a token lies across the place; all strings of three representative characters, and runs of them; and the common
/// English endings that some rules split off.
fn difference(a: &Tokenizer, b: &Tokenizer) -> Result<Option<String>, ConvertError> {
    difference_in(a, b, |_| true)
}

/// The same for texts of SentencePiece's tokenizers. Whether a space is put before a text that begins with one, a
/// tokenizer.json may say otherwise than GGUF can; so much is allowed, and said.
fn difference_of_pieces(a: &Tokenizer, b: &Tokenizer) -> Result<Option<String>, ConvertError> {
    let Some(text) = difference(a, b)? else { return Ok(None) };
    if !text.starts_with(' ') {
        return Ok(Some(text));
    }
    let other = difference_in(a, b, |text| !text.starts_with(' '))?;
    if other.is_none() {
        log::warn!("a text that begins with a space, such as {text:?}, gets other ids than before");
    }
    Ok(other)
}

/// The same for texts that are `wanted`.
fn difference_in(
    a: &Tokenizer,
    b: &Tokenizer,
    wanted: impl Fn(&str) -> bool,
) -> Result<Option<String>, ConvertError> {
    let differs = |text: &str, special: bool| -> Result<bool, ConvertError> {
        if !wanted(text) {
            return Ok(false);
        }
        // A name that became a token without a row in the embedding is one that no model reads.
        let ids = a.encode(text, special)?;
        Ok(ids.iter().all(|id| *id < b.vocab_size()) && ids != b.encode(text, special)?)
    };
    let mut texts: Vec<String> = vec![String::new()];
    for first in REPRESENTATIVE {
        for second in REPRESENTATIVE {
            texts.extend(REPRESENTATIVE.map(|third| format!("{first}{second}{third}")));
            texts.push([first.repeat(4), second.repeat(3), first.repeat(2)].concat());
        }
    }
    for ending in ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"] {
        for text in [ending.to_owned(), ending.to_uppercase()] {
            texts.extend([format!("we{text} "), format!(" {text}x"), format!("1{text}")]);
        }
    }
    for text in texts {
        if differs(&text, true)? {
            return Ok(Some(text));
        }
    }
    for id in 0..a.vocab_size().max(b.vocab_size()) {
        let bytes = a.token_bytes(id).or_else(|| b.token_bytes(id));
        let Some(token) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else { continue };
        for (before, after) in [("", ""), ("a", ""), ("", "a"), ("1", ""), ("", "1")] {
            let text = [before, &token, after].concat();
            if differs(&text, false)? {
                return Ok(Some(text));
            }
        }
    }
    Ok(None)
}

/// Asserts that the tokenizers of both models give the same ids.
pub(super) fn same_ids(old: &ModelFile, new: &ModelFile, form: Form) -> Result<(), ConvertError> {
    let different =
        |text: String| Err(form.inexpressible("the tokenizer", format!("ids of {text:?} differ")));
    match (tokenizer_of(old)?, tokenizer_of(new)?) {
        (None, None) => Ok(()),
        (Some(old), Some(new)) => difference_of_pieces(&old, &new)?.map_or(Ok(()), different),
        _ => Err(form.inexpressible("the tokenizer", "it does not read back")),
    }
}
