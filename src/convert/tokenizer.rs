//! The tokenizer of a model, from either form into either.
//!
//! Within a form it is copied. From GGUF to a folder the byte-level tokenizers are written out as tokenizer.json. The way
//! back is harder: GGUF names the rule that splits text instead of describing it, so each name that the reader knows is
//! tried, and the one taken whose ids are the same for every short string of representative characters. Whatever else
//! GGUF has no words for is an error that says what it is. In the end the ids of old and new are compared once more.

use serde_json::{Map, Value, json};

use super::{ConvertError, Form, tokenizer_of};
use crate::model_file::{GgufTokenizer, ModelFile, TokenizerSource};
use crate::tokenizer::{PRE_TOKENIZERS, Tokenizer};

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
        (TokenizerSource::Gguf(source), Form::Safetensors) => Carried::Files(from_gguf(file, source)?),
        (TokenizerSource::HuggingFace { tokenizer_json, .. }, Form::Gguf) => {
            Carried::Gguf(to_gguf(file, tokenizer_json)?)
        }
    };
    if let (Some(template), Form::Safetensors) = (file.chat_template(), form) {
        let template = ("chat_template.jinja", template.as_bytes().to_vec());
        carried = Carried::Files(carried.files().into_iter().chain([template]).collect());
    }
    Ok(carried)
}

/// The files of a byte-level tokenizer: tokenizer.json and tokenizer_config.json.
fn from_gguf(file: &ModelFile, source: &GgufTokenizer) -> Result<Vec<(&'static str, Vec<u8>)>, ConvertError> {
    let refuse = |what: String, reason: &str| Err(Form::Safetensors.inexpressible(what, reason));
    if source.model != "gpt2" {
        return refuse(
            format!("the tokenizer model {:?}", source.model),
            "only byte-level tokenizers are written as tokenizer.json",
        );
    }
    let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label())?;
    let vocab: Map<String, Value> = source.tokens.iter().cloned().zip((0_u32..).map(Value::from)).collect();
    let mut added = Vec::new();
    for (id, (token, kind)) in (0_u32..).zip(source.tokens.iter().zip(&source.token_types)) {
        if matches!(kind, 2..=4) {
            added.push(
                json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind != 4}),
            );
        }
    }
    let name = |id: u32| source.tokens.get(id as usize).cloned().unwrap_or_default();
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let (prefix, suffix) = tokenizer.affixes();
    let special = |id: &u32| json!({"SpecialToken": {"id": name(*id), "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> =
        prefix.iter().map(special).chain([text]).chain(suffix.iter().map(special)).collect();
    let named: Map<String, Value> = prefix
        .iter()
        .chain(suffix)
        .map(|id| (name(*id), json!({"id": name(*id), "ids": [id], "tokens": [name(*id)]})))
        .collect();
    let post_processor = if named.is_empty() {
        byte_level.clone()
    } else {
        json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": named})
    };
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": tokenizer.pre_tokenizer(),
        "post_processor": post_processor,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": tokenizer.ignores_merges(),
            "vocab": vocab,
            "merges": source.merges,
        },
    });
    let token = |id: Option<u32>| id.map(name);
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.config.context_len,
        "bos_token": token(source.bos),
        "eos_token": token(source.eos),
        "unk_token": token(source.unk),
        "pad_token": token(source.pad),
        "clean_up_tokenization_spaces": false,
    });
    let text = |value: &Value| format!("{value:#}\n").into_bytes();
    Ok(vec![("tokenizer.json", text(&json)), ("tokenizer_config.json", text(&config))])
}

/// The metadata of a byte-level tokenizer.
fn to_gguf(file: &ModelFile, json: &[u8]) -> Result<GgufTokenizer, ConvertError> {
    let refuse = |what: &str, reason: String| Form::Gguf.inexpressible(what.to_owned(), reason);
    // The reader of the tokenizer room accepts it, so it has the structure that is looked for here.
    let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label())?;
    let json: Value =
        serde_json::from_slice(json).map_err(|error| refuse("tokenizer.json", error.to_string()))?;
    let model = &json["model"];
    if !mentions(&json["pre_tokenizer"], "ByteLevel") {
        return Err(refuse("the tokenizer", "only byte-level tokenizers are written to GGUF".to_owned()));
    }
    if !json["normalizer"].is_null() {
        return Err(refuse("the tokenizer's normalizer", "byte-level text is taken as it is".to_owned()));
    }
    let rows = file.config.vocab_size as usize;
    // What no token has is marked as unused, so that there is one for every row of the embedding.
    let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![5; rows];
    let vocab = model["vocab"].as_object().into_iter().flatten();
    let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let given = added.iter().map(|token| {
        let kind = if token["special"] == true { 3 } else { 4 };
        (token["content"].as_str().unwrap_or_default(), &token["id"], kind)
    });
    for (token, id, kind) in vocab.map(|(token, id)| (token.as_str(), id, 1)).chain(given) {
        let id = id.as_u64().unwrap_or(u64::MAX) as usize;
        let (Some(place), Some(place_kind)) = (tokens.get_mut(id), kinds.get_mut(id)) else {
            return Err(refuse("the tokenizer", format!("token {id} has no row in the embedding of {rows}")));
        };
        (*place, *place_kind) = (token.to_owned(), kind);
    }
    if let Some(token) = added.iter().find(|token| token["single_word"] == true) {
        return Err(refuse(
            &format!("the added token {}", token["content"]),
            "it is a whole word only".to_owned(),
        ));
    }
    for token in added.iter().filter(|token| token["lstrip"] == true || token["rstrip"] == true) {
        log::warn!(
            "the added token {} takes the white space beside it, which GGUF cannot say",
            token["content"]
        );
    }
    let merges = model["merges"].as_array().into_iter().flatten().map(|merge| match merge {
        Value::String(line) => line.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()),
    });
    let (bos, eos) = (tokenizer.bos(), tokenizer.eos());
    let (prefix, suffix) = tokenizer.affixes();
    let affix = |ids: &[u32], place: &str, named: Option<u32>| match (ids, named) {
        ([], named) => Ok((false, named)),
        ([id], Some(named)) if *id == named => Ok((true, Some(named))),
        ([id], None) => Ok((true, Some(*id))),
        (ids, _) => Err(refuse("the tokenizer", format!("it puts {ids:?} {place} a text"))),
    };
    let (add_bos, bos) = affix(prefix, "before", bos)?;
    let (add_eos, eos) = affix(suffix, "after", eos)?;
    let mut found = GgufTokenizer {
        model: "gpt2".to_owned(),
        pre: None,
        tokens,
        token_types: kinds,
        merges: merges.collect(),
        scores: Vec::new(),
        bos,
        eos,
        unk: None,
        pad: None,
        add_bos,
        add_eos,
        add_space_prefix: false,
    };
    for name in PRE_TOKENIZERS {
        found.pre = Some((*name).to_owned());
        let source = TokenizerSource::Gguf(found.clone());
        // A name whose rule does not go with this vocabulary is not the one.
        let Ok(candidate) = Tokenizer::from_source(&source, file.label()) else { continue };
        if difference(&tokenizer, &candidate)?.is_none() {
            return Ok(found);
        }
    }
    let reason = format!("it is none of {}", PRE_TOKENIZERS.join(", "));
    Err(refuse("the rule by which the tokenizer splits text", reason))
}

/// Whether a component, or one inside it, is of that type.
fn mentions(component: &Value, kind: &str) -> bool {
    match component {
        Value::Object(map) => map.values().any(|value| value == kind || mentions(value, kind)),
        Value::Array(list) => list.iter().any(|value| mentions(value, kind)),
        _ => false,
    }
}

/// A text to which two tokenizers give different ids: of all strings of up to three representative characters, runs of
/// them, and the common English endings that some rules split off.
fn difference(a: &Tokenizer, b: &Tokenizer) -> Result<Option<String>, ConvertError> {
    let mut texts: Vec<String> = Vec::new();
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
    texts.push(String::new());
    for text in texts {
        for special in [false, true] {
            if a.encode(&text, special)? != b.encode(&text, special)? {
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
        (Some(old), Some(new)) => difference(&old, &new)?.map_or(Ok(()), different),
        _ => Err(form.inexpressible("the tokenizer", "it does not read back")),
    }
}
