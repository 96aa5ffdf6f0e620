//! The regular expressions that split a text into words which no token crosses, and the names that GGUF has for them.
//!
//! They are compared as text: a pattern of unknown origin may take time without bound on the right input. Each of
//! these takes linear time, because it either has no look-around, so that the engine runs it as an automaton, or looks
//! ahead by one character only. Native programs and the browser run the same engine.

use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::normalizer::SplitDelimiterBehavior;

use super::error::TokenizerError;
use super::spec::{build_error, unsupported};
use crate::model_file::quoted;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Also cl100k.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const DIGITS: &str = r"\p{N}+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LINE_BREAK: &str = "[\r\n]";
/// Chinese characters and, by an oversight that became part of the models, much else.
const DEEPSEEK_CJK: &str = "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
/// Letters of the scripts that have capitals; Armenian small ones are not among them.
const DEEPSEEK_LETTERS: &str = "\\s?[\
     A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\
     \u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\
     \u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\
     \u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\
     \u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\
     \u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\
     \u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\
     \u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\
     \u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\
     \u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\
     \u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\
     \u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\
     \u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\
     \u{1e900}-\u{1e943}]+";
const DEEPSEEK_SIGNS: &str =
    "\\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+";
const SPACES_AT_END: &str = r"\s+$";
const CODER_LETTERS: &str = r"\s?\p{L}+";
const CODER_SIGNS: &str = r"\s?\p{P}+";
const V3_DIGITS: &str = r"\p{N}{1,3}";
const V3_CJK: &str = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
const V3_WORDS: &str = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const DEFAULT_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|]+";
const FALCON_SIGNS: &str = r"[\p{P}\$\+<=>\^~\|`]+";

/// The patterns that a tokenizer.json may name.
pub(super) const KNOWN: [&str; 16] = [
    GPT2,
    LLAMA3,
    QWEN2,
    DIGIT,
    DIGITS,
    THREE_DIGITS,
    LINE_BREAK,
    DEEPSEEK_CJK,
    DEEPSEEK_LETTERS,
    DEEPSEEK_SIGNS,
    SPACES_AT_END,
    CODER_LETTERS,
    CODER_SIGNS,
    V3_DIGITS,
    V3_CJK,
    V3_WORDS,
];

/// What a name of `tokenizer.ggml.pre` promises.
pub(super) struct Named {
    /// Each splits what the ones before it left whole; matches and gaps both stay.
    patterns: &'static [&'static str],
    /// Whether a whole word of the vocabulary is taken before any merge.
    pub ignore_merges: bool,
}

/// The names that are known, for messages.
const NAMES: &str = "\"gpt-2\", \"llama-bpe\", \"qwen2\", \"smollm\", \"deepseek-llm\", \"deepseek-coder\", \"deepseek-v3\", \"falcon\", \"default\" and those that mean the same";

/// The split that a name stands for, as llama.cpp defines it. A file without the name is refused: llama.cpp splits it
/// as "default" and warns that the model will be the worse for it.
///
/// # Errors
/// [`TokenizerError::Unsupported`] with the name.
pub(super) fn named(name: Option<&str>, file: &str) -> Result<Named, TokenizerError> {
    let patterns: &[&str] = match name {
        Some(
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4"
            | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de" | "jina-v2-code"
            | "roberta-bpe" | "gigachat" | "a.x-4.0" | "mellum",
        ) => &[GPT2],
        Some(
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
            | "dbrx" | "smaug-bpe",
        ) => &[LLAMA3],
        Some("qwen2" | "deepseek-r1-qwen" | "kormo" | "megrez" | "stablelm2" | "hunyuan" | "grok-2") => {
            &[QWEN2]
        }
        Some("smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b") => {
            &[DIGIT, GPT2]
        }
        Some("deepseek-llm") => {
            &[LINE_BREAK, DEEPSEEK_LETTERS, DEEPSEEK_SIGNS, SPACES_AT_END, DEEPSEEK_CJK, DIGITS]
        }
        Some("deepseek-coder") => &[LINE_BREAK, CODER_LETTERS, CODER_SIGNS, DEEPSEEK_CJK, DIGIT],
        Some("deepseek-v3" | "hunyuan-dense") => &[V3_DIGITS, V3_CJK, V3_WORDS],
        Some("falcon") => &[FALCON_SIGNS, GPT2, THREE_DIGITS],
        Some("default") => &[DEFAULT_SIGNS, GPT2, DIGITS, THREE_DIGITS],
        other => {
            let value = other.map_or_else(|| "no value".to_owned(), quoted);
            return Err(unsupported(file, "tokenizer.ggml.pre", &value, NAMES));
        }
    };
    let ignore_merges = patterns == [LLAMA3] && !matches!(name, Some("dbrx" | "smaug-bpe"));
    Ok(Named { patterns, ignore_merges })
}

impl Named {
    /// The pre-tokenizer for the crate: the splits, then every byte as one character.
    ///
    /// # Errors
    /// [`TokenizerError::Build`] where the crate refuses a pattern.
    pub(super) fn pre_tokenizer(&self, file: &str) -> Result<PreTokenizerWrapper, TokenizerError> {
        let split = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map(PreTokenizerWrapper::Split)
                .map_err(|error| build_error(file, &error))
        };
        let mut parts = self.patterns.iter().map(split).collect::<Result<Vec<_>, _>>()?;
        parts.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, false)));
        Ok(PreTokenizerWrapper::Sequence(Sequence::new(parts)))
    }
}
