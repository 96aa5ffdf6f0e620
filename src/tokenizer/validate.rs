//! `tokenizer.json` and `tokenizer_config.json` of a HuggingFace folder, against a whitelist.
//!
//! Every component is read into a type of our own that knows only the fields and kinds listed here; anything else is
//! an error that names it. Nothing is skipped, because a component that is not applied gives plausible, wrong ids.
//! Post-processors and decoders are reduced to what they mean for one text (ids before and after it, the spelling of
//! bytes) and carried out by this room.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokenizers::AddedToken;

use super::added::{Settings, id_of};
use super::components::{self, Decoder, Normalizer, PostProcessor, PreTokenizer};
use super::error::{TokenizerError, reason};
use super::model::{MAX_MERGES, MergeSpec, ModelSpec};
use super::sentencepiece::{self, Algorithm, PieceSpec};
use super::spec::{Built, Fields, MAX_ADDED, MAX_VOCAB, Spec, at_most, invalid, unsupported};
use crate::model_file::{quoted, without_bom};

/// Most bytes of either file; the largest published tokenizer.json has 33 MB.
pub(super) const MAX_FILE_BYTES: usize = 64 << 20;
/// Most bytes of one component other than the model: parsed, a component takes a multiple of its size.
const MAX_COMPONENT_BYTES: usize = 512 << 10;

const FIELDS: Fields = Fields {
    vocab: "model.vocab",
    token: "model.vocab[]",
    merges: "model.merges",
    scores: "model.vocab",
    added: "added_tokens",
    affixes: "post_processor",
    unk: "model.unk_token",
    bos: "bos_token",
    eos: "eos_token",
};

/// Builds the tokenizer of `tokenizer.json`; the begin and end tokens come from `tokenizer_config.json`.
///
/// # Errors
/// Everything the whitelist does not hold, everything beyond its bound, everything that does not fit together.
pub(super) fn build(json: &[u8], config: Option<&[u8]>, label: &str) -> Result<Built, TokenizerError> {
    let file = format!("{label}/tokenizer.json");
    let config_file = format!("{label}/tokenizer_config.json");
    let parts: Parts<'_> = parse(json, MAX_FILE_BYTES, &file, "tokenizer.json")?;
    let settings: Settings = match config {
        Some(config) => parse(config, MAX_FILE_BYTES, &config_file, "tokenizer_config.json")?,
        None => Settings::default(),
    };
    if let Some(version) = parts.version.as_deref().filter(|version| *version != "1.0") {
        return Err(unsupported(&file, "version", &quoted(version), "\"1.0\""));
    }
    // What training left there: both are for lists of texts of one length, and whoever encodes a single text turns them off.
    for (field, part) in [("truncation", parts.truncation), ("padding", parts.padding)] {
        if part.is_some_and(|part| part.get() != "null") {
            log::info!("{file}: {field} is set; ignored, for texts are read whole and one by one");
        }
    }
    let (vocab, model) = model(parts.model, &file)?;
    let listed = added_tokens(parts.added_tokens, &file)?;
    let plain = |content: String| AddedToken::from(content, false);
    let added = settings.complete(listed, &vocab, Vec::new(), plain, &config_file)?;
    let normalizer: Option<Normalizer> = component(parts.normalizer, &file, "normalizer")?;
    let pre_tokenizer: Option<PreTokenizer> = component(parts.pre_tokenizer, &file, "pre_tokenizer")?;
    let post_processor: Option<PostProcessor> = component(parts.post_processor, &file, "post_processor")?;
    let decoder: Option<Decoder> = component(parts.decoder, &file, "decoder")?;
    let (pre_tokenizer, byte_level) = components::pre_tokenizer(pre_tokenizer, &file)?;
    let (prefix, suffix) = components::affixes(post_processor, &file)?;
    let bos = id_of(settings.bos(), &added, &vocab);
    let eos = id_of(settings.eos(), &added, &vocab);
    Spec {
        fields: &FIELDS,
        normalizer: components::normalizer(normalizer, &file)?,
        pre_tokenizer,
        spelling: components::spelling(decoder, byte_level, &file)?,
        vocab,
        model,
        added,
        prefix,
        suffix,
        // Templates of `transformers` write it themselves.
        begins_chats: false,
        bos,
        eos,
    }
    .build(&file)
}

/// `tokenizer.json`, with its components still as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<'a> {
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    truncation: Option<&'a RawValue>,
    #[serde(borrow)]
    padding: Option<&'a RawValue>,
    #[serde(borrow)]
    added_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow)]
    decoder: Option<&'a RawValue>,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// A model of type BPE.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bpe {
    /// Absent in the first published files.
    #[serde(rename = "type")]
    _kind: Option<String>,
    dropout: Option<f32>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Vocab,
    merges: Merges,
}

/// A model of type Unigram: pieces with their scores, in the order of their ids.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unigram {
    #[serde(rename = "type")]
    _kind: String,
    unk_id: Option<u32>,
    vocab: Bounded<(String, f64), MAX_VOCAB>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The type of a model, read before the rest because the rest depends on it.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

/// A vocabulary, spelling and id, and the model over it.
type Model = (Vec<(String, u32)>, ModelSpec);

fn model(raw: &RawValue, file: &str) -> Result<Model, TokenizerError> {
    let Kind { kind } = parse(raw.get().as_bytes(), MAX_FILE_BYTES, file, "model")?;
    match kind.as_deref() {
        None | Some("BPE") => bpe(parse(raw.get().as_bytes(), MAX_FILE_BYTES, file, "model")?, file),
        Some("Unigram") => unigram(parse(raw.get().as_bytes(), MAX_FILE_BYTES, file, "model")?, file),
        Some(other) => Err(unsupported(file, "model.type", &quoted(other), "\"BPE\", \"Unigram\"")),
    }
}

fn bpe(model: Bpe, file: &str) -> Result<Model, TokenizerError> {
    if let Some(dropout) = model.dropout.filter(|dropout| *dropout != 0.0) {
        return Err(unsupported(
            file,
            "model.dropout",
            &dropout.to_string(),
            "null, 0: the same ids every time",
        ));
    }
    let affixes = [
        ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
        ("model.end_of_word_suffix", &model.end_of_word_suffix),
    ];
    for (field, affix) in affixes {
        if let Some(affix) = affix.as_deref().filter(|affix| !affix.is_empty()) {
            return Err(unsupported(file, field, &quoted(affix), "null"));
        }
    }
    let spec = MergeSpec {
        merges: model.merges.0,
        unk: model.unk_token.filter(|token| !token.is_empty()),
        fuse_unk: model.fuse_unk,
        byte_fallback: model.byte_fallback,
        ignore_merges: model.ignore_merges,
    };
    Ok((model.vocab.0, ModelSpec::Merges(spec)))
}

/// Kinds are not in the file: whatever is not found as an added token first, a text can become.
fn unigram(model: Unigram, file: &str) -> Result<Model, TokenizerError> {
    let has_piece = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < model.vocab.0.len());
    if let Some(unk) = model.unk_id.filter(|id| !has_piece(id)) {
        return Err(invalid(file, "model.unk_id", &unk.to_string(), "the id of a token"));
    }
    let (vocab, pieces) = model
        .vocab
        .0
        .into_iter()
        .zip(0u32..)
        .map(|((token, score), id)| ((token, id), (score, sentencepiece::Kind::Normal)))
        .unzip();
    let spec = PieceSpec {
        algorithm: Algorithm::Likeliest { single: false },
        pieces,
        unk: model.unk_id,
        byte_fallback: model.byte_fallback,
        spaces: None,
    };
    Ok((vocab, ModelSpec::Pieces(spec)))
}

/// One entry of `added_tokens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Added {
    id: u32,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

fn added_tokens(raw: Option<&RawValue>, file: &str) -> Result<Vec<(u32, AddedToken)>, TokenizerError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let tokens: Bounded<Added, MAX_ADDED> =
        parse(raw.get().as_bytes(), MAX_FILE_BYTES, file, "added_tokens")?;
    let convert = |token: Added| {
        let added = AddedToken::from(token.content, token.special)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .single_word(token.single_word)
            .normalized(token.normalized);
        (token.id, added)
    };
    Ok(tokens.0.into_iter().map(convert).collect())
}

/// A component that may be absent or null.
fn component<T: DeserializeOwned>(
    raw: Option<&RawValue>,
    file: &str,
    field: &'static str,
) -> Result<Option<T>, TokenizerError> {
    raw.map_or(Ok(None), |raw| parse(raw.get().as_bytes(), MAX_COMPONENT_BYTES, file, field))
}

/// Reads JSON of at most `limit` bytes.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    json: &'a [u8],
    limit: usize,
    file: &str,
    field: &'static str,
) -> Result<T, TokenizerError> {
    at_most(file, field, json.len(), limit)?;
    serde_json::from_slice(without_bom(json)).map_err(|error| {
        // serde_json ends its message with the position, which has fields of its own here.
        let text = error.to_string();
        let cause = text.rsplit_once(" at line ").map_or(&*text, |(cause, _)| cause);
        let (line, column) = (error.line(), error.column());
        TokenizerError::Json { file: file.to_owned(), field, line, column, reason: reason(&cause) }
    })
}

/// A list that stops being read at its bound.
struct Bounded<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() >= MAX {
                        return Err(A::Error::custom(format_args!("more than {MAX} entries")));
                    }
                    entries.push(entry);
                }
                Ok(Bounded(entries))
            }
        }
        deserializer.deserialize_seq(List(std::marker::PhantomData))
    }
}

/// The vocabulary in the order of the file. Not a map, so that a token given twice is seen.
pub(super) struct Vocab(pub Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() >= MAX_VOCAB {
                        return Err(A::Error::custom(format_args!("more than {MAX_VOCAB} tokens")));
                    }
                    entries.push(entry);
                }
                Ok(Vocab(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Merges, best first.
struct Merges(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let merges: Bounded<Merge, MAX_MERGES> = Deserialize::deserialize(deserializer)?;
        Ok(Self(merges.0.into_iter().map(|merge| merge.0).collect()))
    }
}

/// One merge: `["left", "right"]`, or "left right" in older files.
struct Merge((String, String));

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two parts, as a list or with one space between them")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Merge, E> {
                match line.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => {
                        Ok(Merge((left.to_owned(), right.to_owned())))
                    }
                    _ => {
                        Err(E::custom(format_args!("merge {} is not two parts and one space", quoted(line))))
                    }
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let short = || A::Error::custom("a merge has fewer than two parts");
                let left = list.next_element()?.ok_or_else(short)?;
                let right = list.next_element()?.ok_or_else(short)?;
                Ok(Merge((left, right)))
            }
        }
        deserializer.deserialize_any(Pair)
    }
}
