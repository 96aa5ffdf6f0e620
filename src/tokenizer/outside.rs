//! Text from outside is only text: the ids of a prompt of which some stretches must not become control tokens.
//!
//! A chat template writes control tokens by their spellings, and so can whoever writes a message. Which of the two it
//! was is lost in the joined text, so a prompt carries for each byte whether it came from outside (`origin`). Here the
//! steps of the `tokenizers` crate are walked by hand (find added tokens, normalize, find again, split, cut into
//! pieces), with two differences: an added token that controls the model is found only where every byte of it is the
//! template's own, and the pieces of a message may be no such token either, for some vocabularies would reach it.
//! A text that spells no control token so gets the ids of [`Tokenizer::encode`].

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use tokenizers::normalizer::Range;
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::{
    AddedToken, Model as _, NormalizedString, Normalizer as _, NormalizerWrapper, OffsetType,
    PreTokenizedString, PreTokenizer as _, Token,
};

use super::error::{TokenizerError, reason};
use super::origin::Part;
use super::sentencepiece::prefixes::Prefixes;
use super::{ChatTemplate, Tokenizer};
use crate::kv::Policy;

/// How added tokens are found in a text.
pub(super) struct Finder {
    /// Looked for in the text as it is.
    raw: Prefixes,
    /// Looked for after the normalizer.
    normalized: Prefixes,
    /// Whether a token takes the white space on its left and on its right; tokens that take none have no entry.
    strips: HashMap<u32, (bool, bool)>,
    /// Tokens that are found only where no word goes on beside them.
    single: HashSet<u32>,
}

impl Finder {
    /// The added tokens of a tokenizer with this normalizer.
    pub(super) fn new(added: &[(u32, AddedToken)], normalizer: Option<&NormalizerWrapper>) -> Self {
        let mut normalized = Vec::new();
        for (id, token) in added.iter().filter(|(_, token)| token.normalized) {
            let mut spelling = NormalizedString::from(token.content.as_str());
            // The crate takes the spelling as it is where the normalizer gives up.
            let _ = normalizer.map(|normalizer| normalizer.normalize(&mut spelling));
            normalized.push((spelling.get().to_owned(), *id));
        }
        // Of two tokens that become one spelling either may be found; an empty one is found nowhere.
        let unique: HashMap<&str, u32> = normalized
            .iter()
            .filter(|(token, _)| !token.is_empty())
            .map(|(token, id)| (&**token, *id))
            .collect();
        let raw = added.iter().filter(|(_, token)| !token.normalized);
        let strips = added.iter().filter(|(_, token)| token.lstrip || token.rstrip);
        Self {
            raw: Prefixes::new(raw.map(|(id, token)| (token.content.as_str(), *id))),
            normalized: Prefixes::new(unique.into_iter()),
            strips: strips.map(|(id, token)| (*id, (token.lstrip, token.rstrip))).collect(),
            single: added.iter().filter(|(_, token)| token.single_word).map(|(id, _)| *id).collect(),
        }
    }

    /// Cuts a stretch at the tokens of `list` for which `may` holds, as the crate does: the leftmost first, of several
    /// there the longest.
    fn cut(
        &self,
        stretch: &NormalizedString,
        list: &Prefixes,
        may: &dyn Fn(u32, std::ops::Range<usize>) -> bool,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let (text, origin) = (stretch.get(), stretch.offsets_original().0);
        let allowed = |start: usize, end: usize, id: u32| {
            let range = stretch.convert_offsets(Range::Normalized(start..end));
            range.is_some_and(|range| {
                may(id, origin.saturating_add(range.start)..origin.saturating_add(range.end))
            })
        };
        let (mut parts, mut done, mut at) = (Vec::new(), 0usize, 0usize);
        let mut take = |from: usize, to: usize, id: Option<u32>| {
            if let Some(part) = stretch.slice(Range::Normalized(from..to)).filter(|_| from < to) {
                parts.push((part, id.map(|id| vec![Token::new(id, String::new(), (0, 0))])));
            }
        };
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let end = |len: usize| at.saturating_add(len);
            let Some((len, id)) = list.of(rest).filter(|(len, id)| allowed(at, end(*len), *id)).last() else {
                at = end(rest.chars().next().map_or(1, char::len_utf8));
                continue;
            };
            if self.single.contains(&id) {
                let beside = |c: Option<char>| c.is_some_and(is_word);
                let before = text.get(..at).and_then(|text| text.chars().next_back());
                if beside(before) || beside(text.get(end(len)..).and_then(|text| text.chars().next())) {
                    // The crate looks on behind what it has passed over.
                    at = end(len);
                    continue;
                }
            }
            let (left, right) = self.strips.get(&id).copied().unwrap_or_default();
            let before = text.get(done..at).unwrap_or_default();
            let start = if left { done.saturating_add(before.trim_end().len()) } else { at };
            let after = text.get(end(len)..).unwrap_or_default();
            let space = if right { after.len().saturating_sub(after.trim_start().len()) } else { 0 };
            let stop = end(len).saturating_add(space);
            take(done, start, None);
            take(start, stop, Some(id));
            (done, at) = (stop, stop);
        }
        take(done, text.len(), None);
        parts
    }
}

/// Whether the crate takes a character for one of a word: by the `\w` of its regular expressions, marks included.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<Option<Replace>> =
        LazyLock::new(|| Replace::new(ReplacePattern::Regex(r"\w".to_owned()), "").ok());
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    let mut text = NormalizedString::from(c.to_string());
    WORD.as_ref().is_some_and(|word| word.normalize(&mut text).is_ok() && text.get().is_empty())
}

/// The tokens that no text from outside becomes.
pub(super) struct Controls {
    ids: HashSet<u32>,
    spellings: Vec<String>,
}

impl Controls {
    /// Their ids.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        self.ids.iter().copied()
    }

    /// Their spellings.
    pub(super) fn spellings(&self) -> &[String] {
        &self.spellings
    }
}

impl Tokenizer {
    /// The tokens that control a conversation under `template`: those that the file calls special; those that look
    /// like it (`<|user|>`), for files forget to say so; and of those that look like no word the ones that the template
    /// writes and the anchors of `policy`. The spellings that a vocabulary has for runs of spaces, for words or for
    /// the tags of HTML remain what they are.
    pub(super) fn controls(&self, template: &ChatTemplate, policy: &Policy) -> Controls {
        let mut controls = Controls { ids: HashSet::new(), spellings: Vec::new() };
        let insert = policy.insert.as_ref().map(|insert| insert.id);
        let ends = [self.bos(), self.eos(), insert];
        for id in &self.built.added {
            let Some(spelling) = self.bytes(*id).and_then(|bytes| str::from_utf8(bytes).ok()) else {
                continue;
            };
            let punctuated = |c: Option<char>| c.is_some_and(|c| !c.is_alphanumeric() && !c.is_whitespace());
            let marked = punctuated(spelling.chars().next())
                && punctuated(spelling.chars().next_back())
                && spelling.chars().nth(1).is_some();
            let looks = ["<|", "<\u{ff5c}"].iter().any(|open| spelling.starts_with(open))
                && ["|>", "\u{ff5c}>"].iter().any(|close| spelling.ends_with(close));
            let named = ends.contains(&Some(*id))
                || policy.anchors.contains(*id)
                || template.source().contains(spelling);
            let blank = spelling.trim().is_empty();
            if (self.is_special(*id) && !blank) || (marked && (looks || named)) {
                controls.ids.insert(*id);
                controls.spellings.push(spelling.to_owned());
            }
        }
        controls
    }

    /// The ids of `part`, in which no text from outside becomes one of `controls`; without text from outside those of
    /// [`Tokenizer::encode`].
    pub(super) fn encode_part(
        &self,
        part: Part<'_>,
        controls: &Controls,
    ) -> Result<Vec<u32>, TokenizerError> {
        if !part.has_outside() {
            return self.encode(part.text, false);
        }
        let failed = |error: tokenizers::Error| TokenizerError::Encode { reason: reason(&error) };
        let (encoder, finder) = (&self.built.encoder, &self.built.finder);
        let may = |id: u32, range: std::ops::Range<usize>| {
            !(controls.ids.contains(&id) && part.is_outside(range.start, range.end))
        };
        let mut text = PreTokenizedString::from(part.text);
        text.split(|_, stretch| Ok(finder.cut(&stretch, &finder.raw, &may))).map_err(failed)?;
        text.split(|_, mut stretch| {
            // As the crate has it: a normalizer that gives up changes nothing.
            let _ = encoder.get_normalizer().map(|normalizer| normalizer.normalize(&mut stretch));
            Ok(finder.cut(&stretch, &finder.normalized, &may))
        })
        .map_err(failed)?;
        if let Some(pre_tokenizer) = encoder.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut text).map_err(failed)?;
        }
        let model = encoder.get_model();
        text.tokenize(|word| {
            let (start, end) = word.offsets_original();
            if part.is_outside(start, end) {
                model.tokenize_barred(word.get(), &|id| controls.ids.contains(&id))
            } else {
                model.tokenize(word.get())
            }
        })
        .map_err(failed)?;
        let encoding = text.into_encoding(None, 0, OffsetType::None).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }
}
