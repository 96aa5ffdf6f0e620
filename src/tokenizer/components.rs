//! The components of a `tokenizer.json` that are known, and what each is turned into.
//!
//! The lists are short on purpose: a component is here when it is safe on any text (it cannot panic, grow a text
//! without bound or take more than linear time) and a test compares it with the reference.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{NFC, NFD, NFKC, NFKD, Prepend, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::error::TokenizerError;
use super::pieces::Spelling;
use super::spec::{MAX_AFFIX, at_most, build_error, invalid, unsupported};
use super::splits;
use crate::model_file::quoted;

/// Most components in one list, lists in lists counted through.
const MAX_PARTS: usize = 16;
/// Most lists around a component.
const MAX_DEPTH: usize = 4;
/// The one regular expression that may be replaced.
const SPACES: &str = " {2,}";
/// Most bytes of a text that a component looks for or puts in.
const MAX_TEXT_BYTES: usize = 64;

/// A text or a regular expression to look for.
#[derive(Deserialize)]
pub(super) enum Pattern {
    String(String),
    Regex(String),
}

/// `normalizer`: changes the text before it is split.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum Normalizer {
    #[serde(rename = "NFC")]
    Nfc,
    #[serde(rename = "NFD")]
    Nfd,
    #[serde(rename = "NFKC")]
    Nfkc,
    #[serde(rename = "NFKD")]
    Nfkd,
    Lowercase,
    Prepend {
        prepend: String,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    Sequence {
        normalizers: Vec<Self>,
    },
}

/// `pre_tokenizer`: splits the text into words that no token crosses.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum PreTokenizer {
    ByteLevel {
        add_prefix_space: bool,
        #[serde(rename = "trim_offsets", default)]
        _trim_offsets: IgnoredAny,
        #[serde(default = "yes")]
        use_regex: bool,
    },
    Digits {
        individual_digits: bool,
    },
    Punctuation {
        #[serde(default = "isolated")]
        behavior: SplitDelimiterBehavior,
    },
    Split {
        pattern: Pattern,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    Metaspace {
        replacement: char,
        /// Older files have this flag in the place of the next field.
        add_prefix_space: Option<bool>,
        #[serde(default = "always")]
        prepend_scheme: PrependScheme,
        #[serde(default = "yes")]
        split: bool,
    },
    Sequence {
        pretokenizers: Vec<Self>,
    },
}

/// `post_processor`: puts ids around those of the text. Token types and offsets, which others also set, are not used.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum PostProcessor {
    ByteLevel {
        #[serde(rename = "add_prefix_space", default)]
        _add_prefix_space: IgnoredAny,
        #[serde(rename = "trim_offsets", default)]
        _trim_offsets: IgnoredAny,
        #[serde(rename = "use_regex", default)]
        _use_regex: IgnoredAny,
    },
    TemplateProcessing {
        single: Vec<Piece>,
        #[serde(rename = "pair", default)]
        _pair: IgnoredAny,
        special_tokens: BTreeMap<String, TemplateToken>,
    },
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
        #[serde(rename = "trim_offsets", default)]
        _trim_offsets: IgnoredAny,
        #[serde(rename = "add_prefix_space", default)]
        _add_prefix_space: IgnoredAny,
    },
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    Sequence {
        processors: Vec<Self>,
    },
}

/// One place of a template.
#[derive(Deserialize)]
pub(super) enum Piece {
    SpecialToken {
        id: String,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
    Sequence {
        id: Text,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
}

/// Which text a template means.
#[derive(Deserialize, PartialEq)]
pub(super) enum Text {
    A,
    B,
}

/// What a name in a template stands for.
#[derive(Deserialize)]
pub(super) struct TemplateToken {
    ids: Vec<u32>,
}

/// `decoder`: how tokens become text.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum Decoder {
    ByteLevel {
        #[serde(rename = "add_prefix_space", default)]
        _add_prefix_space: IgnoredAny,
        #[serde(rename = "trim_offsets", default)]
        _trim_offsets: IgnoredAny,
        #[serde(rename = "use_regex", default)]
        _use_regex: IgnoredAny,
    },
    Replace {
        pattern: Pattern,
        content: String,
    },
    ByteFallback,
    Fuse,
    Metaspace {
        replacement: char,
        #[serde(rename = "add_prefix_space", default)]
        _add_prefix_space: IgnoredAny,
        #[serde(default = "always")]
        prepend_scheme: PrependScheme,
        #[serde(rename = "split", default)]
        _split: IgnoredAny,
    },
    Strip {
        content: char,
        start: usize,
        stop: usize,
    },
    Sequence {
        decoders: Vec<Self>,
    },
}

fn yes() -> bool {
    true
}

fn always() -> PrependScheme {
    PrependScheme::Always
}

fn isolated() -> SplitDelimiterBehavior {
    SplitDelimiterBehavior::Isolated
}

/// The normalizer for the crate.
pub(super) fn normalizer(
    part: Option<Normalizer>,
    file: &str,
) -> Result<Option<NormalizerWrapper>, TokenizerError> {
    let field = "normalizer";
    let parts = flatten(part, file, field, |part| match part {
        Normalizer::Sequence { normalizers } => Err(normalizers),
        leaf => Ok(leaf),
    })?;
    let convert = |part| {
        Ok(match part {
            Normalizer::Nfc => NormalizerWrapper::NFC(NFC),
            Normalizer::Nfd => NormalizerWrapper::NFD(NFD),
            Normalizer::Nfkc => NormalizerWrapper::NFKC(NFKC),
            Normalizer::Nfkd => NormalizerWrapper::NFKD(NFKD),
            Normalizer::Lowercase => NormalizerWrapper::Lowercase(tokenizers::normalizers::Lowercase),
            Normalizer::Prepend { prepend } => {
                at_most(file, "normalizer.prepend", prepend.len(), MAX_TEXT_BYTES)?;
                // The crate's own bookkeeping of positions goes wrong on it, and the pre-tokenizer then panics.
                if prepend.is_empty() {
                    return Err(invalid(file, "normalizer.prepend", "\"\"", "at least one character"));
                }
                NormalizerWrapper::Prepend(Prepend::new(prepend))
            }
            // Runs of spaces, as SentencePiece collapses them.
            Normalizer::Replace { pattern: Pattern::Regex(regex), content }
                if regex == SPACES && [" ", "\u{2581}"].contains(&content.as_str()) =>
            {
                NormalizerWrapper::Replace(
                    Replace::new(ReplacePattern::Regex(regex), content)
                        .map_err(|error| build_error(file, &error))?,
                )
            }
            Normalizer::Replace { pattern, content } => {
                let pattern = plain(pattern, file, "normalizer.pattern")?;
                // A list of growing replacements would multiply a text without bound.
                if content.chars().count() > pattern.chars().count() {
                    let expected = "a replacement with no more characters than the pattern";
                    return Err(invalid(file, "normalizer.content", &quoted(&content), expected));
                }
                NormalizerWrapper::Replace(
                    Replace::new(pattern, content).map_err(|error| build_error(file, &error))?,
                )
            }
            Normalizer::Sequence { .. } => return Err(unsupported(file, field, "a list", "a single part")),
        })
    };
    let parts = parts.into_iter().map(convert).collect::<Result<Vec<_>, _>>()?;
    let list = || NormalizerWrapper::Sequence(tokenizers::normalizers::Sequence::new(parts.clone()));
    Ok((!parts.is_empty()).then(list))
}

/// The pre-tokenizer for the crate, and whether it turns text into the byte-level alphabet.
pub(super) fn pre_tokenizer(
    part: Option<PreTokenizer>,
    file: &str,
) -> Result<(Option<PreTokenizerWrapper>, bool), TokenizerError> {
    let field = "pre_tokenizer";
    let parts = flatten(part, file, field, |part| match part {
        PreTokenizer::Sequence { pretokenizers } => Err(pretokenizers),
        leaf => Ok(leaf),
    })?;
    let byte_levels = parts.iter().filter(|part| matches!(part, PreTokenizer::ByteLevel { .. })).count();
    if byte_levels > 1 {
        return Err(invalid(
            file,
            field,
            &format!("{byte_levels} parts of type \"ByteLevel\""),
            "at most one",
        ));
    }
    let convert = |part| {
        Ok(match part {
            PreTokenizer::ByteLevel { add_prefix_space, use_regex, .. } => {
                PreTokenizerWrapper::ByteLevel(ByteLevel::new(add_prefix_space, true, use_regex))
            }
            PreTokenizer::Digits { individual_digits } => {
                PreTokenizerWrapper::Digits(Digits::new(individual_digits))
            }
            PreTokenizer::Punctuation { behavior } => {
                PreTokenizerWrapper::Punctuation(Punctuation::new(behavior))
            }
            PreTokenizer::Split { pattern, behavior, invert } => {
                let pattern = match pattern {
                    Pattern::Regex(regex) if splits::KNOWN.contains(&regex.as_str()) => {
                        SplitPattern::Regex(regex)
                    }
                    Pattern::Regex(regex) => {
                        let known = "the patterns of GPT-2, Llama 3, Qwen 2 and DeepSeek";
                        return Err(unsupported(file, "pre_tokenizer.pattern.Regex", &quoted(&regex), known));
                    }
                    Pattern::String(_) => {
                        SplitPattern::String(plain(pattern, file, "pre_tokenizer.pattern.String")?)
                    }
                };
                let split =
                    Split::new(pattern, behavior, invert).map_err(|error| build_error(file, &error))?;
                PreTokenizerWrapper::Split(split)
            }
            PreTokenizer::Metaspace { replacement, add_prefix_space, prepend_scheme, split } => {
                if replacement != '\u{2581}' {
                    let value = quoted(&replacement.to_string());
                    return Err(unsupported(file, "pre_tokenizer.replacement", &value, "U+2581"));
                }
                if add_prefix_space == Some(false) && prepend_scheme != PrependScheme::Never {
                    let expected = "true, or prepend_scheme \"never\"";
                    return Err(invalid(file, "pre_tokenizer.add_prefix_space", "false", expected));
                }
                PreTokenizerWrapper::Metaspace(Metaspace::new(replacement, prepend_scheme, split))
            }
            PreTokenizer::Sequence { .. } => return Err(unsupported(file, field, "a list", "a single part")),
        })
    };
    let parts = parts.into_iter().map(convert).collect::<Result<Vec<_>, _>>()?;
    let list =
        || PreTokenizerWrapper::Sequence(tokenizers::pre_tokenizers::sequence::Sequence::new(parts.clone()));
    Ok(((!parts.is_empty()).then(list), byte_levels == 1))
}

/// The ids that the post-processor puts before and after a text.
pub(super) fn affixes(
    part: Option<PostProcessor>,
    file: &str,
) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    let field = "post_processor";
    let parts = flatten(part, file, field, |part| match part {
        PostProcessor::Sequence { processors } => Err(processors),
        leaf => Ok(leaf),
    })?;
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    for part in parts {
        let (before, after) = match part {
            PostProcessor::ByteLevel { .. } | PostProcessor::Sequence { .. } => continue,
            PostProcessor::RobertaProcessing { sep, cls, .. }
            | PostProcessor::BertProcessing { sep, cls } => (vec![cls.1], vec![sep.1]),
            PostProcessor::TemplateProcessing { single, special_tokens, .. } => {
                template(single, &special_tokens, file)?
            }
        };
        // A later part wraps what the earlier ones made.
        prefix.splice(..0, before);
        suffix.extend(after);
        at_most(file, field, prefix.len().max(suffix.len()), MAX_AFFIX)?;
    }
    Ok((prefix, suffix))
}

/// The ids before and after the one text of a template.
fn template(
    single: Vec<Piece>,
    tokens: &BTreeMap<String, TemplateToken>,
    file: &str,
) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    let field = "post_processor.single";
    at_most(file, field, single.len(), 2 * MAX_AFFIX)?;
    let (mut before, mut after, mut texts) = (Vec::new(), Vec::new(), 0u8);
    for piece in single {
        match piece {
            Piece::Sequence { id: Text::A, .. } => texts = texts.saturating_add(1),
            Piece::Sequence { id: Text::B, .. } => {
                return Err(invalid(file, field, "sequence \"B\"", "sequence \"A\" only"));
            }
            Piece::SpecialToken { id, .. } => {
                let Some(token) = tokens.get(&id) else {
                    return Err(invalid(file, field, &quoted(&id), "a name listed in special_tokens"));
                };
                at_most(file, "post_processor.special_tokens", token.ids.len(), MAX_AFFIX)?;
                if texts == 0 { &mut before } else { &mut after }.extend(&token.ids);
            }
        }
    }
    if texts != 1 {
        return Err(invalid(file, field, &format!("sequence \"A\" {texts} times"), "it once"));
    }
    Ok((before, after))
}

/// How the vocabulary spells bytes. The decoder has to be the inverse of what the pre-tokenizer did.
pub(super) fn spelling(
    part: Option<Decoder>,
    byte_level: bool,
    file: &str,
) -> Result<Spelling, TokenizerError> {
    let field = "decoder";
    let missing = part.is_none();
    let parts = flatten(part, file, field, |part| match part {
        Decoder::Sequence { decoders } => Err(decoders),
        leaf => Ok(leaf),
    })?;
    let spelling = match parts.as_slice() {
        [Decoder::ByteLevel { .. }] if byte_level => Some(Spelling::ByteLevel),
        [Decoder::Metaspace { replacement: '\u{2581}', prepend_scheme, .. }] if !byte_level => {
            let strip_first_space = *prepend_scheme != PrependScheme::Never;
            Some(Spelling::Pieces { byte_fallback: false, strip_first_space })
        }
        [Decoder::Replace { pattern: Pattern::String(pattern), content }, rest @ ..]
            if pattern == "\u{2581}" && content == " " && !byte_level =>
        {
            let (byte_fallback, rest) = match rest {
                [Decoder::ByteFallback, rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let strip = match rest {
                [Decoder::Fuse] => Some(false),
                [Decoder::Fuse, Decoder::Strip { content: ' ', start: 1, stop: 0 }] => Some(true),
                _ => None,
            };
            strip.map(|strip_first_space| Spelling::Pieces { byte_fallback, strip_first_space })
        }
        _ => None,
    };
    let known = "\"ByteLevel\" with a pre-tokenizer of that type, \"Metaspace\" with U+2581, or \"Replace\" of U+2581 by a space, \"ByteFallback\", \"Fuse\", \"Strip\" of one space";
    let value = if missing { "null" } else { "this combination" };
    spelling.ok_or_else(|| unsupported(file, field, value, known))
}

/// A text to look for; regular expressions are refused.
fn plain(pattern: Pattern, file: &str, field: &str) -> Result<String, TokenizerError> {
    match pattern {
        Pattern::Regex(regex) => Err(unsupported(file, field, &quoted(&regex), "a plain string")),
        Pattern::String(text) if text.is_empty() => {
            Err(invalid(file, field, "\"\"", "a text that is not empty"))
        }
        Pattern::String(text) => at_most(file, field, text.len(), MAX_TEXT_BYTES).map(|()| text),
    }
}

/// The parts of a component in the order they act, lists in lists opened. `open` gives back a part or the list it is.
fn flatten<T>(
    part: Option<T>,
    file: &str,
    field: &str,
    open: fn(T) -> Result<T, Vec<T>>,
) -> Result<Vec<T>, TokenizerError> {
    let mut parts = Vec::new();
    let mut waiting: Vec<(T, usize)> = part.into_iter().map(|part| (part, 0)).collect();
    while let Some((part, depth)) = waiting.pop() {
        match open(part) {
            Ok(leaf) => parts.push(leaf),
            Err(list) => {
                let depth = depth.saturating_add(1);
                at_most(file, &format!("depth of {field}"), depth, MAX_DEPTH)?;
                waiting.extend(list.into_iter().rev().map(|part| (part, depth)));
            }
        }
        at_most(
            file,
            &format!("number of parts of {field}"),
            parts.len().saturating_add(waiting.len()),
            MAX_PARTS,
        )?;
    }
    Ok(parts)
}
