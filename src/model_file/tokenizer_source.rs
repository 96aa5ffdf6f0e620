//! What a model file says about its tokenizer and chat template, bounded but not yet interpreted.
//!
//! This room checks sizes, types and token numbers; the tokenizer room gives them their meaning.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::config::Architecture;
use super::error::{ModelFileError, quoted};
use super::gguf::{CHAT_TEMPLATE, MERGES, Metadata, SCORES, TOKEN_TYPES, TOKENS, key_field};
use super::json::{self, Object};
use super::reader::{MAX_TEMPLATE_BYTES, MAX_TOKENIZER_BYTES, MAX_TOKENIZER_CONFIG_BYTES, at_most, len_u64};
use super::sniff::{self, read_json};
use super::source::FileSet;
use super::wire;

/// The tokenizer as the model's files hold it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TokenizerSource {
    /// The files of a Hugging Face checkpoint.
    HuggingFace {
        /// tokenizer.json.
        tokenizer_json: Vec<u8>,
        /// `tokenizer_config.json`.
        tokenizer_config: Option<Vec<u8>>,
    },
    /// The files of a checkpoint without a tokenizer.json.
    SentencePiece {
        /// tokenizer.model, as the trainer of `SentencePiece` writes it.
        model: Vec<u8>,
        /// `added_tokens.json`: tokens that came after the vocabulary, and their numbers.
        added_tokens: Option<Vec<u8>>,
        /// `tokenizer_config.json`.
        tokenizer_config: Option<Vec<u8>>,
    },
    /// The metadata of a GGUF file.
    Gguf(GgufTokenizer),
    /// No tokenizer: the model takes token numbers only.
    None,
}

/// The keys `tokenizer.ggml.*` of a GGUF file.
#[derive(Debug, Clone)]
pub struct GgufTokenizer {
    /// `gpt2` (byte-level BPE), `llama` (`SentencePiece`, merged by score), `t5` (`SentencePiece`, unigram) or another.
    pub model: String,
    /// The name of the rule that splits text before BPE.
    pub pre: Option<String>,
    /// The token texts in order of their numbers; at most as many as the embedding has rows.
    pub tokens: Vec<String>,
    /// Kinds as in llama.cpp (1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte); as many as tokens, or none.
    pub token_types: Vec<i32>,
    /// BPE merges, best first, two parts each with a space between.
    pub merges: Vec<String>,
    /// `SentencePiece` scores; as many as tokens, or none.
    pub scores: Vec<f32>,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token for what the vocabulary lacks.
    pub unk: Option<u32>,
    /// The token that fills up batches.
    pub pad: Option<u32>,
    /// Whether a text begins with `bos`.
    pub add_bos: bool,
    /// Whether a text ends with `eos`.
    pub add_eos: bool,
    /// Whether a space is put before the text.
    pub add_space_prefix: bool,
    /// Whether spaces at both ends vanish, and all but one of several in a row.
    pub remove_extra_whitespaces: bool,
    /// Whether the file holds a table that rewrites characters (`tokenizer.ggml.precompiled_charsmap`).
    pub has_charsmap: bool,
    /// Whether it is the tokenizer of a Phi-3, whose control tokens take the white space after them; no key says so.
    pub is_phi3: bool,
}

/// Tokens of Phi-3 that do not ([`GgufTokenizer::takes_space_after`]).
const PHI3_PLAIN: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

impl GgufTokenizer {
    /// Whether a token that is found in a text takes the white space after it. As llama.cpp has it, which knows Phi-3 by its name; by
    /// the architecture here, for what the name is made of has changed. Phi-4, whose tokens are byte-level, takes none.
    pub fn takes_space_after(&self, token: &str) -> bool {
        self.is_phi3 && self.model == "llama" && !PHI3_PLAIN.contains(&token)
    }
}

/// The token that ends a turn of a chat.
pub(super) const EOT: &str = "tokenizer.ggml.eot_token_id";
/// Tokens that end a turn of a chat, by their spelling: of Phi-3, Llama 3, ChatML, and Gemma. They end a text in files without
/// `eot_token_id`, as in llama.cpp, since Phi-3's files and the first of Llama 3 name only the token that ends a document.
pub(super) const TURN_ENDS: [&str; 4] = ["<|end|>", "<|eot_id|>", "<|im_end|>", "<end_of_turn>"];
/// Numbers of kinds of tokens.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

const PAD: &str = "tokenizer.ggml.padding_token_id";

/// Splitting rules whose models expect `bos` even if the file does not say so (llama.cpp, `llama-vocab.cpp`).
const PRE_WITH_BOS: &[&str] = &[
    "llama3",
    "llama-v3",
    "llama-bpe",
    "falcon3",
    "falcon-h1",
    "pixtral",
    "midm-2.0",
    "lfm2",
    "tekken",
    "chameleon",
];

/// The tokenizer of a GGUF file.
pub(super) fn from_gguf(mut metadata: Metadata, vocab_size: u32) -> Result<TokenizerSource, ModelFileError> {
    let Some(tokens) = metadata.take_strings(TOKENS)? else { return Ok(TokenizerSource::None) };
    let merges = metadata.take_strings(MERGES)?.unwrap_or_default();
    let file = metadata.file.as_str();
    at_most(file, &format!("{} count", key_field(TOKENS)), len_u64(tokens.len()), vocab_size.into())?;
    let model_key = "tokenizer.ggml.model";
    let model = metadata.required(model_key, metadata.str(model_key)?)?.to_owned();
    let pre = metadata.str("tokenizer.ggml.pre")?.map(str::to_owned);

    let invalid = |field: String, value: String, expected: String| ModelFileError::Invalid {
        file: file.to_owned(),
        field,
        value,
        expected,
    };
    let per_token = |key: &str, len: usize| {
        if len == tokens.len() {
            return Ok(());
        }
        let expected = format!("{}, one per token", tokens.len());
        Err(invalid(format!("{} count", key_field(key)), len.to_string(), expected))
    };
    let token_types = metadata.ints(TOKEN_TYPES)?;
    // Merges by rank have no use for scores, whatever type they have.
    let scores = if model == "gpt2" {
        metadata.floats(SCORES).unwrap_or_default()
    } else {
        metadata.floats(SCORES)?
    };
    token_types.map_or(Ok(()), |types| per_token(TOKEN_TYPES, types.len()))?;
    scores.map_or(Ok(()), |scores| per_token(SCORES, scores.len()))?;
    if let Some(nan) = scores.unwrap_or_default().iter().position(|score| score.is_nan()) {
        return Err(invalid(
            format!("{}[{nan}]", key_field(SCORES)),
            "NaN".to_owned(),
            "a number".to_owned(),
        ));
    }
    if let Some((number, merge)) = merges.iter().enumerate().find(|(_, merge)| !merge.contains(' ')) {
        let field = format!("{}[{number}]", key_field(MERGES));
        return Err(invalid(field, quoted(merge), "two parts with a space between".to_owned()));
    }
    let mut token_types = token_types.unwrap_or_default().to_vec();
    if !metadata.has(EOT) {
        for (kind, token) in token_types.iter_mut().zip(&tokens) {
            // Whoever made the file forgot to say so: the chat template could not write the token, nor the model end with it.
            if *kind == NORMAL && TURN_ENDS.contains(&token.as_str()) {
                log::warn!(
                    "{}: {} is marked as a normal token; taken for the control token that it is",
                    quoted(file),
                    quoted(token)
                );
                *kind = CONTROL;
            }
        }
    }
    let id = |key: &str| match metadata.u64(key)? {
        Some(id) if id < len_u64(tokens.len()) => Ok(u32::try_from(id).ok()),
        // Files converted before their padding token was added name one they lack; nothing here pads.
        Some(id) if key == PAD => {
            log::warn!("{}: {} is {id}, which is not a token; ignored", quoted(file), key_field(key));
            Ok(None)
        }
        Some(id) => {
            let expected = format!("a token below {}, the number of tokens", tokens.len());
            Err(invalid(key_field(key), id.to_string(), expected))
        }
        None => Ok(None),
    };
    // What is not said is as llama.cpp takes it.
    let merged_by_score = model == "llama";
    let add_bos = merged_by_score || pre.as_deref().is_some_and(|pre| PRE_WITH_BOS.contains(&pre));
    Ok(TokenizerSource::Gguf(GgufTokenizer {
        token_types,
        merges,
        scores: scores.unwrap_or_default().to_vec(),
        bos: id("tokenizer.ggml.bos_token_id")?,
        eos: id("tokenizer.ggml.eos_token_id")?,
        unk: id("tokenizer.ggml.unknown_token_id")?,
        pad: id(PAD)?,
        add_bos: metadata.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos),
        add_eos: metadata.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(model == "t5"),
        add_space_prefix: metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(merged_by_score),
        remove_extra_whitespaces: metadata.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        is_phi3: metadata.str("general.architecture")? == Architecture::Phi3.gguf_name(),
        has_charsmap: metadata.has("tokenizer.ggml.precompiled_charsmap"),
        model,
        pre,
        tokens,
    }))
}

/// What the files of a checkpoint say of a token.
#[derive(Deserialize)]
struct Spelled {
    content: String,
}

/// A token by its content, plain or inside a description.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Plain(String),
    Described(Spelled),
}

/// The key of `tokenizer_config.json` that describes tokens by their id.
const DESCRIBED: &str = "added_tokens_decoder";

/// The little that is read of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct Ends {
    eos_token: Option<Named>,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, Spelled>,
}

/// The little that is read of tokenizer.json.
#[derive(Default, Deserialize)]
struct Added {
    #[serde(default)]
    added_tokens: Vec<Numbered>,
}

/// The vocabulary of a tokenizer.json.
#[derive(Default, Deserialize)]
struct Whole {
    model: Vocabulary,
}

#[derive(Default, Deserialize)]
struct Vocabulary {
    vocab: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u32,
    content: String,
}

/// Tokens that end a turn by what lies beside config.json: `eos_token` of `tokenizer_config.json`, and of [`TURN_ENDS`]
/// what the chat template writes. Files that cannot be read say nothing here; the tokenizer's reader says why.
pub(super) fn turn_ends(source: &TokenizerSource, template: Option<&str>) -> Vec<u32> {
    let (later, config) = match source {
        TokenizerSource::HuggingFace { tokenizer_config, .. } => (None, tokenizer_config),
        TokenizerSource::SentencePiece { added_tokens, tokenizer_config, .. } => {
            (added_tokens.as_ref(), tokenizer_config)
        }
        TokenizerSource::Gguf(_) | TokenizerSource::None => return Vec::new(),
    };
    let config: Ends =
        config.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let eos = config.eos_token.map(|name| match name {
        Named::Plain(content) | Named::Described(Spelled { content }) => content,
    });
    let written = |spelling: &&str| template.is_some_and(|template| template.contains(*spelling));
    let spelled: Vec<&str> = TURN_ENDS.iter().copied().filter(written).chain(eos.as_deref()).collect();
    if spelled.is_empty() {
        return Vec::new();
    }
    // The tokenizer follows the vocabulary; what other files number counts for the spellings that it lacks.
    let own = own_ids(source, &spelled);
    let later: BTreeMap<String, u32> =
        later.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let described = config.added_tokens_decoder.iter();
    let described = described.filter_map(|(id, token)| Some((token.content.as_str(), id.parse().ok()?)));
    let beside = described.chain(later.iter().map(|(content, id)| (content.as_str(), *id)));
    let beside = beside.filter(|(content, _)| spelled.contains(content) && !own.contains_key(content));
    let mut ends: Vec<u32> = own.values().copied().chain(beside.map(|(_, id)| id)).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The ids that tokenizer.json or tokenizer.model itself gives to those of `spelled` that it has.
fn own_ids<'a>(source: &TokenizerSource, spelled: &[&'a str]) -> BTreeMap<&'a str, u32> {
    let mut own = BTreeMap::new();
    match source {
        TokenizerSource::HuggingFace { tokenizer_json, .. } => {
            let added: Added = serde_json::from_slice(tokenizer_json).unwrap_or_default();
            for spelling in spelled {
                let listed = added.added_tokens.iter().find(|token| token.content == **spelling);
                own.extend(listed.map(|token| (*spelling, token.id)));
            }
            // The vocabulary is large, and such tokens are seldom in it alone.
            if spelled.iter().any(|spelling| !own.contains_key(spelling)) {
                let whole: Whole = serde_json::from_slice(tokenizer_json).unwrap_or_default();
                for spelling in spelled {
                    if let Some(id) = whole.model.vocab.get(*spelling) {
                        own.entry(*spelling).or_insert(*id);
                    }
                }
            }
        }
        TokenizerSource::SentencePiece { model, .. } => {
            // Message 1 of the file is a piece, and text 1 of that its spelling.
            for (id, piece) in (0..).zip(wire::Fields::of(model).filter_map(first_text)) {
                let found = wire::Fields::of(piece).find_map(first_text);
                let found = spelled.iter().find(|spelling| found == Some(spelling.as_bytes()));
                own.extend(found.map(|spelling| (*spelling, id)));
            }
        }
        TokenizerSource::Gguf(_) | TokenizerSource::None => {}
    }
    own
}

/// The bytes of a field 1.
fn first_text(field: Option<(u64, wire::Value<'_>)>) -> Option<&[u8]> {
    match field {
        Some((1, wire::Value::Bytes(bytes))) => Some(bytes),
        _ => None,
    }
}

/// The chat template of a GGUF file.
pub(super) fn template_from_gguf(metadata: &Metadata) -> Result<Option<String>, ModelFileError> {
    Ok(metadata.str(CHAT_TEMPLATE)?.map(str::to_owned))
}

/// The tokenizer and the chat template that lie beside a safetensors file.
pub(super) async fn from_files(files: &FileSet) -> Result<(TokenizerSource, Option<String>), ModelFileError> {
    const CONFIG: &str = "tokenizer_config.json";
    const TEMPLATE: &str = "chat_template.jinja";
    const PIECES: &str = "tokenizer.model";
    const LATER: &str = "added_tokens.json";
    let read = async |name: &'static str, cap: u64| match files.find(name)? {
        Some(source) => read_json(source.as_ref(), name, cap).await.map(Some),
        None => Ok(None),
    };
    let tokenizer_config = read(CONFIG, MAX_TOKENIZER_CONFIG_BYTES).await?;
    // `transformers` lets the separate file win, too.
    let template = match files.find(TEMPLATE)? {
        Some(source) => {
            Some(utf8(TEMPLATE, sniff::read_text(source.as_ref(), TEMPLATE, MAX_TEMPLATE_BYTES).await?)?)
        }
        None => match &tokenizer_config {
            Some(bytes) => template_of(CONFIG, bytes)?,
            None => None,
        },
    };
    let source = match read("tokenizer.json", MAX_TOKENIZER_BYTES).await? {
        Some(tokenizer_json) => {
            let tokenizer_config = match files.find(LATER)? {
                Some(source) => {
                    let later = read_json(source.as_ref(), LATER, MAX_TOKENIZER_CONFIG_BYTES).await?;
                    with_later(tokenizer_config, &later, &tokenizer_json)?
                }
                None => tokenizer_config,
            };
            TokenizerSource::HuggingFace { tokenizer_json, tokenizer_config }
        }
        None => match files.find(PIECES)? {
            Some(source) => {
                let model = sniff::read(source.as_ref(), PIECES, MAX_TOKENIZER_BYTES).await?;
                let added_tokens = read(LATER, MAX_TOKENIZER_CONFIG_BYTES).await?;
                TokenizerSource::SentencePiece { model, added_tokens, tokenizer_config }
            }
            None => TokenizerSource::None,
        },
    };
    Ok((source, template))
}

/// `tokenizer_config.json` that describes the tokens of `added_tokens.json`, `later`, unless it describes tokens already or
/// tokenizer.json has their ids: so `transformers` reads a folder that has all three.
fn with_later(
    config: Option<Vec<u8>>,
    later: &[u8],
    tokenizer_json: &[u8],
) -> Result<Option<Vec<u8>>, ModelFileError> {
    const CONFIG: &str = "tokenizer_config.json";
    const LATER: &str = "added_tokens.json";
    let parsed = json::parse(CONFIG, "the file", config.as_deref().unwrap_or(b"{}"))?;
    let object = Object::root(CONFIG, &parsed)?;
    if object.get(DESCRIBED).is_some() {
        return Ok(config);
    }
    let spelling = |value: &serde_json::Value| {
        let text = value.as_str().or_else(|| value.get("content")?.as_str());
        text.map(str::to_owned)
    };
    let names = object.entries().filter(|(key, _)| key.ends_with("_token"));
    let mut special: BTreeSet<String> = names.filter_map(|(_, value)| spelling(value)).collect();
    let more = object.get("additional_special_tokens").and_then(|list| list.as_array());
    special.extend(more.into_iter().flatten().filter_map(spelling));
    // What is wrong with tokenizer.json its own reader says.
    let listed: Added = serde_json::from_slice(tokenizer_json).unwrap_or_default();
    let listed: BTreeSet<u32> = listed.added_tokens.iter().map(|token| token.id).collect();
    let later = json::parse(LATER, "the file", later)?;
    let later = Object::root(LATER, &later)?;
    let mut described = serde_json::Map::new();
    for (content, id) in later.entries() {
        let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = number
            .ok_or_else(|| json::wrong_type(LATER, later.field(content), id, "the number of a token"))?;
        if !listed.contains(&id) {
            let is_special = special.contains(content);
            let description =
                serde_json::json!({ "content": content, "special": is_special, "normalized": !is_special });
            described.insert(id.to_string(), description);
        }
    }
    let serde_json::Value::Object(mut whole) = parsed else { return Ok(config) };
    whole.insert(DESCRIBED.to_owned(), described.into());
    Ok(Some(serde_json::Value::Object(whole).to_string().into_bytes()))
}

fn utf8(file: &str, bytes: Vec<u8>) -> Result<String, ModelFileError> {
    String::from_utf8(bytes).map_err(|error| ModelFileError::Invalid {
        file: file.to_owned(),
        field: "the file".to_owned(),
        value: quoted(&String::from_utf8_lossy(error.as_bytes())),
        expected: "UTF-8".to_owned(),
    })
}

/// `chat_template` of `tokenizer_config.json`: one template, or a list of named ones with a `default`.
fn template_of(file: &str, bytes: &[u8]) -> Result<Option<String>, ModelFileError> {
    const KEY: &str = "chat_template";
    let json = json::parse(file, "the file", bytes)?;
    let json = Object::root(file, &json)?;
    let template = match json.get(KEY) {
        Some(serde_json::Value::Array(list)) => {
            let default =
                list.iter().find(|entry| entry.get("name").and_then(|name| name.as_str()) == Some("default"));
            default.and_then(|entry| entry.get("template")).and_then(|template| template.as_str())
        }
        _ => json.str(KEY)?,
    };
    if let Some(template) = template {
        at_most(file, &format!("{} length", json.field(KEY)), len_u64(template.len()), MAX_TEMPLATE_BYTES)?;
    }
    Ok(template.map(str::to_owned))
}
