//! Anchors put into a text although nobody wrote them, as AnLLM-AC was trained: one token after each sentence.
//!
//! Where they go is decided in the text and marked by a character, because the sentences of a chat prompt are those of
//! its messages and not of the template around them. What they become is decided on the level of ids: a mark is
//! exactly one token, and the text on both sides is encoded as it is. An anchor written into the text would let the
//! tokenizer swallow or add spaces around it.

use super::origin::Part;
use super::{Tokenizer, TokenizerError, sentences};
use crate::kv::{Insert, Place, Policy, Tagger};

/// Stands for an anchor until the text is encoded: a private-use character, which no text has a reason to hold.
pub const ANCHOR_MARK: char = '\u{10FFFD}';

/// Texts in front of which a vocabulary may put its space instead, tried in this order.
const GUARDS: [&str; 3] = [".", "x", "0"];
/// Most tokens that such a text and the space before it make.
const GUARD_TOKENS: usize = 2;

/// Makes ids of text.
type Encode<'a> = &'a dyn Fn(Part<'_>) -> Result<Vec<u32>, TokenizerError>;

/// The text with marks between its sentences, or after each; marks that it already holds are taken out first.
///
/// After the last sentence the mark stands before the white space that ends the text.
pub fn mark_sentences(text: &str, place: Place) -> String {
    let text = text.replace(ANCHOR_MARK, "");
    let mut marked = String::new();
    for (i, sentence) in sentences(&text).into_iter().enumerate() {
        if place == Place::Between && i > 0 {
            marked.push(ANCHOR_MARK);
        }
        let end = sentence.trim_end();
        marked.push_str(end);
        if place == Place::After && !end.is_empty() {
            marked.push(ANCHOR_MARK);
        }
        marked.extend(sentence.strip_prefix(end));
    }
    marked
}

impl Tokenizer {
    /// The ids of `text` with an anchor between its sentences, or after each, where `insert` asks for it; without it
    /// those of [`Tokenizer::encode`].
    ///
    /// # Errors
    /// As [`Tokenizer::encode_marked`].
    pub fn encode_with_anchors(
        &self,
        text: &str,
        add_special: bool,
        insert: Option<&Insert>,
    ) -> Result<Vec<u32>, TokenizerError> {
        match insert {
            Some(insert) => self.encode_marked(&self.mark_anchors(text, insert), add_special, insert.id),
            None => self.encode(text, add_special),
        }
    }

    /// The ids of a text that `policy` is to read from its beginning: anchors between or after its sentences where it asks for that,
    /// and in segments that would grow too long.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_marked`].
    pub fn encode_for(
        &self,
        text: &str,
        add_special: bool,
        policy: &Policy,
    ) -> Result<Vec<u32>, TokenizerError> {
        let ids = self.encode_with_anchors(text, add_special, policy.insert.as_ref())?;
        Ok(Tagger::default().close_segments(policy, &ids))
    }

    /// The text with marks where `insert` puts them, as [`mark_sentences`] does, and for each anchor that is written out.
    ///
    /// A written anchor takes the white space around it, and what follows it begins with one space: in `Hi. <AC> Bye`,
    /// which is how training data holds it, no token stands for the spaces alone.
    pub fn mark_anchors(&self, text: &str, insert: &Insert) -> String {
        let added = self.built.added.binary_search(&insert.id).is_ok();
        let spelling = self.bytes(insert.id).filter(|_| added).and_then(|bytes| str::from_utf8(bytes).ok());
        let Some(spelling) = spelling.filter(|spelling| text.contains(spelling)) else {
            return mark_sentences(text, insert.place);
        };
        let mut marked = String::new();
        let mut parts = text.split(spelling).peekable();
        let mut first = true;
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let part = if first { part } else { part.trim_start() };
            let part = mark_sentences(if last { part } else { part.trim_end() }, insert.place);
            if !first && !part.is_empty() {
                marked.push(' ');
            }
            // The mark after the last sentence is the one that is written.
            marked.push_str(if last { &part } else { part.trim_end_matches(ANCHOR_MARK) });
            if !last {
                marked.push(ANCHOR_MARK);
            }
            first = false;
        }
        marked
    }

    /// The ids of `text`, each [`ANCHOR_MARK`] as the one token `anchor`; with anchors hidden they decode to the text
    /// without marks.
    ///
    /// A vocabulary that begins every text with a space of its own does so once, as without marks.
    ///
    /// # Errors
    /// [`TokenizerError::UnknownId`] where `anchor` has no token, else as [`Tokenizer::encode`].
    pub fn encode_marked(
        &self,
        text: &str,
        add_special: bool,
        anchor: u32,
    ) -> Result<Vec<u32>, TokenizerError> {
        if self.bytes(anchor).is_none() {
            return Err(TokenizerError::UnknownId { id: anchor, vocab_size: self.vocab_size() });
        }
        let ids = self.marked(Part::inside(text), Some(anchor), &|part| self.encode(part.text, false))?;
        if !add_special {
            return Ok(ids);
        }
        Ok([&self.built.prefix, &*ids, &self.built.suffix].concat())
    }

    /// The ids of a text that goes on after another, each [`ANCHOR_MARK`] as the one token `anchor` if there is one: no special tokens,
    /// and no space that the vocabulary would put in front of a text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_marked`].
    pub fn encode_continuation(&self, text: &str, anchor: Option<u32>) -> Result<Vec<u32>, TokenizerError> {
        self.continued(Part::inside(text), anchor, &|part| self.encode(part.text, false))
    }

    /// The ids of a part, each [`ANCHOR_MARK`] as the one token `anchor` if there is one; `encode` makes ids of text.
    pub(super) fn marked(
        &self,
        part: Part<'_>,
        anchor: Option<u32>,
        encode: Encode<'_>,
    ) -> Result<Vec<u32>, TokenizerError> {
        let Some(anchor) = anchor else { return encode(part) };
        let mut pieces = part.split(ANCHOR_MARK);
        let mut ids = pieces.next().map_or_else(|| Ok(Vec::new()), encode)?;
        for piece in pieces {
            ids.push(anchor);
            ids.extend(self.unspaced(piece, encode)?);
        }
        Ok(ids)
    }

    /// The same of a part that continues a text.
    pub(super) fn continued(
        &self,
        part: Part<'_>,
        anchor: Option<u32>,
        encode: Encode<'_>,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.marked(part, anchor, &|piece| self.unspaced(piece, encode))
    }

    /// The ids of a text that continues another, without the space that the vocabulary may put in front of every text.
    ///
    /// That space stands for one that the text begins with. For a text without one it goes in front of a guard, whose
    /// tokens are then dropped; it stays only where every guard grows into one token with what follows.
    fn unspaced(&self, part: Part<'_>, encode: Encode<'_>) -> Result<Vec<u32>, TokenizerError> {
        let spaces = |bytes: &[u8]| bytes.iter().take_while(|&&byte| byte == b' ').count();
        let ids = encode(part)?;
        let bytes: Vec<u8> = ids.iter().filter_map(|&id| self.bytes(id)).flatten().copied().collect();
        if spaces(&bytes) <= spaces(part.text.as_bytes()) {
            return Ok(ids);
        }
        // Nothing in front of nothing: the space of an empty text does not appear.
        if part.text.starts_with(' ') && part.text != " " {
            return encode(part.from(1));
        }
        for guard in GUARDS {
            let guarded = encode(part.behind(guard).whole())?;
            let mut head = Vec::new();
            let last_of_guard = guarded.iter().take(GUARD_TOKENS).position(|&id| {
                head.extend(self.bytes(id).unwrap_or_default());
                head.trim_ascii_start() == guard.as_bytes()
            });
            if let Some(last) = last_of_guard {
                return Ok(guarded.into_iter().skip(last).skip(1).collect());
            }
        }
        Ok(ids)
    }
}
