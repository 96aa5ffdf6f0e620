//! GGUF metadata -> tokenizer.json and tokenizer_config.json.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ConvertError, Form};
use crate::model_file::{GgufTokenizer, MAX_TOKENIZER_BYTES, ModelFile};
use crate::tokenizer::{MAX_MERGES, Tokenizer};

/// What SentencePiece spells a space with.
const SPACE: &str = "\u{2581}";

/// The files of a tokenizer.
pub(super) fn files(
    file: &ModelFile,
    source: &GgufTokenizer,
) -> Result<Vec<(&'static str, Vec<u8>)>, ConvertError> {
    let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label())?;
    let vocab: Map<String, Value> = source.tokens.iter().cloned().zip((0_u32..).map(Value::from)).collect();
    let mut json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added(source),
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": post_processor(&tokenizer, source),
        "decoder": null,
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": [],
        },
    });
    match source.model.as_str() {
        "gpt2" => {
            json["pre_tokenizer"] = tokenizer.pre_tokenizer();
            json["decoder"] = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
            json["model"]["ignore_merges"] = json!(tokenizer.ignores_merges());
            json["model"]["merges"] = json!(source.merges);
        }
        "llama" => pieces(source, &mut json)?,
        other => {
            let reason =
                "only byte-level tokenizers and SentencePiece's merges are written as tokenizer.json";
            return Err(Form::Safetensors.inexpressible(format!("the tokenizer model {other:?}"), reason));
        }
    }
    // A name makes a token one that is found in a text, which a normal one is not; config.json has its id all the same.
    let is_added = |id: &u32| matches!(source.token_types.get(*id as usize), Some(2..=4));
    let token = |id: Option<u32>| id.filter(is_added).map(|id| name(source, id));
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

/// The spelling of a token. The reader has checked that each id named in the file is one.
fn name(source: &GgufTokenizer, id: u32) -> &str {
    &source.tokens[id as usize]
}

/// Unknown, control and user defined tokens are found in the text before anything else.
fn added(source: &GgufTokenizer) -> Vec<Value> {
    let tokens = (0_u32..).zip(source.tokens.iter().zip(&source.token_types));
    let found = tokens.filter(|(_, (_, kind))| matches!(kind, 2..=4));
    let describe = |(id, (token, kind)): (u32, (&String, &i32))| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false,
            "rstrip": source.takes_space_after(token),
            "normalized": false, "special": *kind != 4})
    };
    found.map(describe).collect()
}

/// The tokens put before and after a text.
fn post_processor(tokenizer: &Tokenizer, source: &GgufTokenizer) -> Value {
    let (prefix, suffix) = tokenizer.affixes();
    if prefix.is_empty() && suffix.is_empty() {
        return Value::Null;
    }
    let special = |id: &u32| json!({"SpecialToken": {"id": name(source, *id), "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let single: Vec<Value> =
        prefix.iter().map(special).chain([text]).chain(suffix.iter().map(special)).collect();
    let describe = |id: &u32| {
        let name = name(source, *id);
        (name.to_owned(), json!({"id": name, "ids": [id], "tokens": [name]}))
    };
    let named: Map<String, Value> = prefix.iter().chain(suffix).map(describe).collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": named})
}

/// SentencePiece's merges: of all pairs of pieces whose sum is a piece, the one with the best score is merged first.
///
/// Every place in every piece may give one, so a vocabulary of `a`, `aa`, `aaa` and so on has as many as the square of its
/// size; what no reader would take is refused while they are counted, each by the ids of its parts alone.
fn pieces(source: &GgufTokenizer, json: &mut Value) -> Result<(), ConvertError> {
    let is_piece = |id: usize| matches!(source.token_types.get(id), None | Some(1 | 4 | 5));
    let place: BTreeMap<&str, usize> =
        source.tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let (mut merges, mut bytes) = (Vec::new(), 0_u64);
    for (id, (token, score)) in source.tokens.iter().zip(&source.scores).enumerate() {
        if !is_piece(id) {
            continue;
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(left_id), Some(right_id)) = (place.get(left), place.get(right))
                && is_piece(*left_id)
                && is_piece(*right_id)
            {
                merges.push((*score, *left_id, *right_id));
                bytes = bytes.saturating_add(token.len() as u64);
                let (most, most_bytes) = (MAX_MERGES, MAX_TOKENIZER_BYTES);
                if merges.len() > most || bytes > most_bytes {
                    let reason =
                        format!("its merges are more than {most}, or take more than {most_bytes} bytes");
                    return Err(Form::Safetensors.inexpressible("the tokenizer", reason));
                }
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let byte_fallback = source.token_types.contains(&6);
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    let prepend = json!({"type": "Prepend", "prepend": SPACE});
    let normalizers = if source.add_space_prefix { vec![prepend, replace] } else { vec![replace] };
    json["normalizer"] = json!({"type": "Sequence", "normalizers": normalizers});
    let mut decoders = vec![json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "})];
    if byte_fallback {
        decoders.push(json!({"type": "ByteFallback"}));
    }
    decoders.push(json!({"type": "Fuse"}));
    if source.add_space_prefix {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json["decoder"] = json!({"type": "Sequence", "decoders": decoders});
    let unknown = source.token_types.iter().position(|kind| *kind == 2).and_then(|id| source.tokens.get(id));
    json["model"]["unk_token"] = json!(unknown);
    json["model"]["fuse_unk"] = json!(true);
    json["model"]["byte_fallback"] = json!(byte_fallback);
    // As pairs, because a piece may hold a space.
    let pairs = merges.into_iter().map(|(_, left, right)| json!([source.tokens[left], source.tokens[right]]));
    json["model"]["merges"] = pairs.collect();
    Ok(())
}
