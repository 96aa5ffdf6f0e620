//! tokenizer.json, or tokenizer.model -> GGUF metadata.
//!
//! For byte-level tokenizers GGUF names the rule that splits text instead of describing it, so each name that the reader
//! knows is tried, and the first one taken under which the ids are the same. SentencePiece's merges become scores.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{ConvertError, Form, difference, difference_of_pieces};
use crate::model_file::{Architecture, GgufTokenizer, ModelFile, TokenizerSource};
use crate::tokenizer::{PRE_TOKENIZERS, PieceTable, Tokenizer};

/// Kinds of tokens, as llama.cpp numbers them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The metadata of the tokenizer that `json`, the tokenizer.json of `file`, describes; `config` is its `tokenizer_config.json`.
pub(super) fn metadata(
    file: &ModelFile,
    json: &[u8],
    config: Option<&[u8]>,
) -> Result<GgufTokenizer, ConvertError> {
    // The reader of the tokenizer room accepts it, so it has the structure that is looked for here.
    let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label())?;
    let json: Value =
        serde_json::from_slice(json).map_err(|error| refuse("tokenizer.json", error.to_string()))?;
    let byte_level = mentions(&json["pre_tokenizer"], "ByteLevel");
    if byte_level && !is_nothing(&json["normalizer"]) {
        return Err(refuse("the tokenizer's normalizer", "byte-level text is taken as it is"));
    }
    let mut found = vocabulary(&json, &tokenizer, file.config.vocab_size, byte_level)?;
    found.is_phi3 = file.config.architecture == Architecture::Phi3;
    ends(&tokenizer, config, &mut found)?;
    let merges = merges(&json);
    if byte_level {
        found.merges = merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        warn_of_strips(&json, &found);
        return with_pre_tokenizer(file, &tokenizer, found);
    }
    scores(&merges, &mut found);
    found.model = "llama".to_owned();
    warn_of_strips(&json, &found);
    found.add_space_prefix =
        mentions(&json["normalizer"], "Prepend") || mentions(&json["pre_tokenizer"], "Metaspace");
    checked(file, &tokenizer, found)
}

/// The metadata of a tokenizer.model and the tokens that were added to it.
pub(super) fn of_pieces(
    file: &ModelFile,
    model: &[u8],
    added: Option<&[u8]>,
    config: Option<&[u8]>,
) -> Result<GgufTokenizer, ConvertError> {
    let tokenizer = Tokenizer::from_source(file.tokenizer(), file.label())?;
    let table = PieceTable::read(model, file.label())?;
    let added: Value = added.and_then(|added| serde_json::from_slice(added).ok()).unwrap_or_default();
    let pieces = (0_u64..).zip(&table.pieces).map(|(id, (piece, _, kind))| (piece.as_str(), id, *kind));
    let listed = listed_beside(&added, config);
    let n_rows = file.config.vocab_size;
    // Those that only tokenizer_config.json names among them, unless they came to be tokens without a row by that name alone.
    let later =
        (0_u64..).zip(0..tokenizer.vocab_size()).skip(table.pieces.len()).filter_map(|(place, id)| {
            let token = String::from_utf8(tokenizer.token_bytes(id)?).ok()?;
            if id >= n_rows && !listed.contains(&token) {
                return None;
            }
            let kind = if tokenizer.special_ids().contains(&id) { CONTROL } else { USER_DEFINED };
            Some((token, place, kind))
        });
    let later: Vec<_> = later.collect();
    let later = later.iter().map(|(token, id, kind)| (token.as_str(), *id, *kind));
    let mut found = rows(pieces.chain(later), n_rows)?;
    if !added.is_null() {
        log::warn!("tokens of added_tokens.json may take the white space beside them, which GGUF cannot say");
    }
    found.scores = table.pieces.iter().map(|(_, score, _)| *score).collect();
    found.scores.resize(found.tokens.len(), 0.0);
    found.model = if table.by_score { "llama" } else { "t5" }.to_owned();
    found.is_phi3 = file.config.architecture == Architecture::Phi3;
    (found.add_space_prefix, found.remove_extra_whitespaces) = (table.space_prefix, table.collapse);
    ends(&tokenizer, config, &mut found)?;
    found.unk = first_unknown(&found).or(found.unk);
    checked(file, &tokenizer, found)
}

/// The spellings that `added`, an added_tokens.json, and the `added_tokens_decoder` of `config` list.
fn listed_beside(added: &Value, config: Option<&[u8]>) -> BTreeSet<String> {
    let config: Value = config.and_then(|config| serde_json::from_slice(config).ok()).unwrap_or_default();
    let described = config["added_tokens_decoder"].as_object().into_iter().flatten();
    let described = described.filter_map(|(_, token)| Some(token["content"].as_str()?.to_owned()));
    added.as_object().into_iter().flatten().map(|(token, _)| token.clone()).chain(described).collect()
}

/// The metadata, if it gives the ids of the tokenizer.
fn checked(
    file: &ModelFile,
    tokenizer: &Tokenizer,
    found: GgufTokenizer,
) -> Result<GgufTokenizer, ConvertError> {
    let candidate = Tokenizer::from_source(&TokenizerSource::Gguf(found.clone()), file.label())
        .map_err(|error| refuse("the tokenizer", error.to_string()))?;
    match difference_of_pieces(tokenizer, &candidate)? {
        None => Ok(found),
        Some(text) => {
            Err(refuse("the tokenizer", format!("as SentencePiece's it gives other ids to {text:?}")))
        }
    }
}

fn refuse(what: &str, reason: impl Into<String>) -> ConvertError {
    Form::Gguf.inexpressible(what, reason)
}

/// Whether a component leaves every text as it is: there is none, or a list of none.
fn is_nothing(component: &Value) -> bool {
    component.is_null()
        || component["normalizers"].as_array().is_some_and(|parts| parts.iter().all(is_nothing))
}

/// Whether a component, or one inside it, is of that type.
fn mentions(component: &Value, kind: &str) -> bool {
    match component {
        Value::Object(map) => map.values().any(|value| value == kind || mentions(value, kind)),
        Value::Array(list) => list.iter().any(|value| mentions(value, kind)),
        _ => false,
    }
}

/// The vocabulary and the added tokens of a tokenizer.json.
fn vocabulary(
    json: &Value,
    tokenizer: &Tokenizer,
    n_rows: u32,
    byte_level: bool,
) -> Result<GgufTokenizer, ConvertError> {
    let (vocab, unknown) = (json["model"]["vocab"].as_object(), json["model"]["unk_token"].as_str());
    let number = |id: &Value| id.as_u64().unwrap_or(u64::MAX);
    let plain = vocab.into_iter().flatten().map(|(token, id)| {
        let is_byte = !byte_level && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        (token.as_str(), number(id), if is_byte { BYTE } else { NORMAL })
    });
    let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Those of the config as well.
    let given: Vec<(String, u64, i32)> = tokenizer
        .added_ids()
        .iter()
        .filter(|id| **id < n_rows || added.iter().any(|token| number(&token["id"]) == u64::from(**id)))
        .filter_map(|id| {
            let content = String::from_utf8(tokenizer.token_bytes(*id)?).ok()?;
            let kind = match tokenizer.special_ids().contains(id) {
                true if !byte_level && Some(content.as_str()) == unknown => UNKNOWN,
                true => CONTROL,
                false => USER_DEFINED,
            };
            Some((content, u64::from(*id), kind))
        })
        .collect();
    let given = given.iter().map(|(content, id, kind)| (content.as_str(), *id, *kind));
    rows(plain.chain(given), n_rows)
}

/// Says which added tokens lose what they do to the white space beside them.
fn warn_of_strips(json: &Value, found: &GgufTokenizer) {
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let (content, takes) =
            (text(&token["content"]), [&token["lstrip"], &token["rstrip"]].map(|t| *t == true));
        if takes != [false, found.takes_space_after(content)] {
            let content = &token["content"];
            log::warn!("what the added token {content} does to the white space beside it, GGUF cannot say");
        }
    }
}

/// Tokens and their kinds, one for every row of the embedding: what no token has is marked as unused.
fn rows<'a>(
    given: impl Iterator<Item = (&'a str, u64, i32)>,
    n_rows: u32,
) -> Result<GgufTokenizer, ConvertError> {
    let mut tokens: Vec<String> = (0..n_rows).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; tokens.len()];
    for (token, id, kind) in given {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        let (Some(place), Some(place_kind)) = (tokens.get_mut(place), kinds.get_mut(place)) else {
            let reason = format!("token {id} has no row in the embedding of {n_rows}");
            return Err(refuse("the tokenizer", reason));
        };
        (*place, *place_kind) = (token.to_owned(), kind);
    }
    Ok(GgufTokenizer {
        model: "gpt2".to_owned(),
        pre: None,
        tokens,
        token_types: kinds,
        merges: Vec::new(),
        scores: Vec::new(),
        bos: None,
        eos: None,
        unk: None,
        pad: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
        remove_extra_whitespaces: false,
        has_charsmap: false,
        is_phi3: false,
    })
}

/// The first token of that kind.
fn first_unknown(found: &GgufTokenizer) -> Option<u32> {
    let place = found.token_types.iter().position(|kind| *kind == UNKNOWN);
    place.and_then(|id| u32::try_from(id).ok())
}

/// The tokens that begin and end a text and whether they are put there; the unknown and the padding token by their names
/// in `config`.
fn ends(tokenizer: &Tokenizer, config: Option<&[u8]>, found: &mut GgufTokenizer) -> Result<(), ConvertError> {
    let affix = |ids: &[u32], place: &str, named: Option<u32>| match (ids, named) {
        ([], named) => Ok((false, named)),
        ([id], Some(named)) if *id == named => Ok((true, Some(named))),
        ([id], None) => Ok((true, Some(*id))),
        (ids, _) => Err(refuse("the tokenizer", format!("it puts {ids:?} {place} a text"))),
    };
    let (prefix, suffix) = tokenizer.affixes();
    (found.add_bos, found.bos) = affix(prefix, "before", tokenizer.bos())?;
    (found.add_eos, found.eos) = affix(suffix, "after", tokenizer.eos())?;
    let config: Value = config.and_then(|config| serde_json::from_slice(config).ok()).unwrap_or_default();
    let named = |key: &str| {
        let name = config[key].as_str().or(config[key]["content"].as_str())?;
        found.tokens.iter().position(|token| token == name).and_then(|id| u32::try_from(id).ok())
    };
    (found.unk, found.pad) = (named("unk_token"), named("pad_token"));
    Ok(())
}

/// Left and right parts, best first; files have them as text with a space between or as pairs.
fn merges(json: &Value) -> Vec<(String, String)> {
    let merges = json["model"]["merges"].as_array().into_iter().flatten();
    let pair = |merge: &Value| {
        let (left, right) = match merge {
            Value::Array(parts) => (text(&parts[0]), text(&parts[1])),
            line => match text(line).split_once(' ') {
                Some(parts) => parts,
                None => unreachable!("the reader refuses the merge {line}"),
            },
        };
        (left.to_owned(), right.to_owned())
    };
    merges.map(pair).collect()
}

/// A text of the tokenizer.json, which its reader has found to be one.
fn text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        other => unreachable!("the reader takes no {other} for a text"),
    }
}

/// The rank of the first merge that makes a piece, negative, is its score; what no merge makes comes last.
fn scores(merges: &[(String, String)], found: &mut GgufTokenizer) {
    let mut ranks = BTreeMap::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    let mut last = merges.len();
    for (token, kind) in found.tokens.iter().zip(&found.token_types) {
        let score = match (kind, ranks.get(token)) {
            (&NORMAL | &USER_DEFINED, Some(rank)) => -(*rank as f32),
            (&NORMAL | &USER_DEFINED, None) => {
                last += 1;
                -(last as f32)
            }
            _ => 0.0,
        };
        found.scores.push(score);
    }
    found.unk = first_unknown(found).or(found.unk);
}

/// The first name of a rule that gives the same ids.
fn with_pre_tokenizer(
    file: &ModelFile,
    tokenizer: &Tokenizer,
    mut found: GgufTokenizer,
) -> Result<GgufTokenizer, ConvertError> {
    for name in PRE_TOKENIZERS {
        found.pre = Some((*name).to_owned());
        let source = TokenizerSource::Gguf(found.clone());
        // A name whose rule does not go with this vocabulary is not the one.
        let Ok(candidate) = Tokenizer::from_source(&source, file.label()) else { continue };
        if difference(tokenizer, &candidate)?.is_none() {
            return Ok(found);
        }
    }
    let reason = format!("it is none of {}", PRE_TOKENIZERS.join(", "));
    Err(refuse("the rule by which the tokenizer splits text", reason))
}
