//! A held-out text as tokens, and windows of it.
//!
//! Policies are compared on the same tokens, so the text is encoded once, in the pieces that anchors would be put between, whether
//! a policy inserts them or not: a vocabulary may have one token for what lies on both sides of such a place.

use std::ops::Range;

use super::EvalError;
use crate::kv::{Place, Policy, Tagger};
use crate::tokenizer::{ANCHOR_MARK, Tokenizer, mark_sentences};

/// A text to be predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    ids: Vec<u32>,
    /// Bytes of the text that each token stands for (n).
    bytes: Vec<u32>,
    /// Tokens in front of which an anchor may be put, ascending; n for one after the last.
    places: Vec<usize>,
    /// The special tokens in front of every window.
    prefix: Vec<u32>,
}

/// A part of the text that is read as if it were all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Tokens of the text that are read.
    pub read: Range<usize>,
    /// Those of them whose loss is counted: what no window before has counted.
    pub counted: Range<usize>,
}

/// What a policy reads of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The prefix, the text, and inserted anchors (n).
    pub ids: Vec<u32>,
    /// The token of the text that each is, `None` for prefix and anchors (n).
    pub origin: Vec<Option<usize>>,
}

impl HeldOut {
    /// Encodes `text`; `place` is where the policies to be compared insert anchors, if one of them does.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn new(tokenizer: &Tokenizer, text: &str, place: Option<Place>) -> Result<Self, EvalError> {
        let marked = place.map(|place| mark_sentences(text, place));
        let (mut ids, mut places) = (Vec::new(), Vec::new());
        for (i, piece) in marked.as_deref().unwrap_or(text).split(ANCHOR_MARK).enumerate() {
            places.extend((i > 0).then_some(ids.len()));
            ids.extend(piece_of(tokenizer, piece, i == 0)?);
        }
        let length = |id: &u32| match tokenizer.token_bytes(*id) {
            Some(bytes) => bytes.len() as u32,
            None => unreachable!("the tokenizer gave the id {id}, and has no token for it"),
        };
        Ok(Self { bytes: ids.iter().map(length).collect(), ids, places, prefix: tokenizer.prefix().to_vec() })
    }

    /// Tokens of the text.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether the text has no token.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The special tokens in front of every window.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Bytes that a range of tokens stands for.
    ///
    /// # Panics
    /// When the text has not so many tokens.
    pub fn bytes(&self, tokens: Range<usize>) -> u64 {
        self.bytes[tokens].iter().copied().map(u64::from).sum()
    }

    /// The text cut into windows of at most `size` tokens, prefix and possible anchors counted, each `size - stride` tokens of text
    /// into the one before; at most `limit`.
    ///
    /// Windows are the same for every policy, so that all read the same text. With `stride` equal to `size` they do not overlap.
    ///
    /// # Errors
    /// [`EvalError::Setting`] for a stride outside 1 to `size`, or so small beside the prefix and anchors that windows do not get
    /// on; [`EvalError::TooFew`] for a text of fewer than two tokens.
    pub fn windows(&self, size: usize, stride: usize, limit: usize) -> Result<Vec<Window>, EvalError> {
        let setting =
            |field, value: usize, need: String| EvalError::Setting { field, value: value.to_string(), need };
        if size < 2 {
            return Err(setting("window_tokens", size, "at least 2".to_owned()));
        }
        if stride == 0 || stride > size {
            return Err(setting("stride", stride, format!("1 to {size}, the tokens of a window")));
        }
        if self.len() < 2 {
            return Err(EvalError::TooFew { what: "tokens in the text", have: self.len(), need: 2 });
        }
        let (mut windows, mut done) = (Vec::new(), 0);
        while done < self.len() && windows.len() < limit {
            let start = done.saturating_sub(size - stride);
            let end = self.fitting(start, size);
            if end <= done {
                let need = "larger: prefix and anchors leave no room for new text".to_owned();
                return Err(setting("stride", stride, need));
            }
            windows.push(Window { read: start..end, counted: done..end });
            done = end;
        }
        Ok(windows)
    }

    /// One past the last token of text that fits into `size` tokens from `start` on.
    fn fitting(&self, start: usize, size: usize) -> usize {
        let mut room = size.saturating_sub(self.prefix.len());
        let mut places =
            self.places.iter().skip(self.places.partition_point(|place| *place <= start)).peekable();
        let mut end = start;
        while end < self.len() {
            let anchors = if places.next_if(|place| **place == end).is_some() { 1 } else { 0 };
            if room < 1 + anchors {
                break;
            }
            room -= 1 + anchors;
            end += 1;
        }
        end
    }

    /// What `policy` reads of a window: its anchors go where they belong inside the window, not at its edges.
    ///
    /// # Panics
    /// When the window is one of a longer text.
    pub fn reading(&self, policy: &Policy, window: &Window) -> Reading {
        let mut wanted: Vec<(u32, Option<usize>)> = self.prefix.iter().map(|id| (*id, None)).collect();
        let first = self.places.partition_point(|place| *place <= window.read.start);
        let mut places = self.places.iter().skip(first).peekable();
        for i in window.read.clone() {
            if let (Some(_), Some(insert)) = (places.next_if(|place| **place == i), policy.insert) {
                wanted.push((insert.id, None));
            }
            wanted.push((self.ids[i], Some(i)));
        }
        let plain: Vec<u32> = wanted.iter().map(|(id, _)| *id).collect();
        let ids = Tagger::default().close_segments(policy, &plain);
        let origin = origins(&plain, &ids).into_iter().map(|i| wanted[i?].1).collect();
        Reading { ids, origin }
    }
}

/// The beginning of a text: the prefix, and `pieces`, the anchor that `policy` inserts after each. They are encoded one by one, so that
/// the tokens of text are the same under every policy.
///
/// # Errors
/// What the tokenizer refuses.
pub(super) fn beginning(
    tokenizer: &Tokenizer,
    policy: &Policy,
    pieces: &[String],
) -> Result<Vec<u32>, EvalError> {
    let mut ids = tokenizer.prefix().to_vec();
    for (i, piece) in pieces.iter().enumerate() {
        ids.extend(piece_of(tokenizer, piece, i == 0)?);
        ids.extend(policy.insert.map(|insert| insert.id));
    }
    Ok(ids)
}

/// The ids of a piece of text, which is the first or goes on after another.
pub(super) fn piece_of(tokenizer: &Tokenizer, piece: &str, first: bool) -> Result<Vec<u32>, EvalError> {
    Ok(if first { tokenizer.encode(piece, false)? } else { tokenizer.encode_continuation(piece, None)? })
}

/// For each of `closed` the index in `plain` it came from, where `closed` is `plain` with anchors put in. One is only put in front
/// of a token that is none itself, so there is no doubt which of two equal ids it is.
pub(super) fn origins(plain: &[u32], closed: &[u32]) -> Vec<Option<usize>> {
    let mut next = 0;
    let origin = closed.iter().map(|id| {
        let same = plain.get(next) == Some(id);
        next += usize::from(same);
        same.then(|| next - 1)
    });
    origin.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize, places: &[usize], prefix: &[u32]) -> HeldOut {
        let ids = (0..n as u32).map(|i| 100 + i).collect();
        HeldOut { ids, bytes: vec![2; n], places: places.to_vec(), prefix: prefix.to_vec() }
    }

    fn cuts(text: &HeldOut, size: usize, stride: usize) -> Vec<(Range<usize>, Range<usize>)> {
        text.windows(size, stride, 100).unwrap().into_iter().map(|w| (w.read, w.counted)).collect()
    }

    #[test]
    fn windows_cut_the_text_without_gap_or_overlap_of_what_is_counted() {
        assert_eq!(cuts(&text(10, &[], &[]), 4, 4), [(0..4, 0..4), (4..8, 4..8), (8..10, 8..10)]);
        assert_eq!(cuts(&text(8, &[], &[]), 4, 2), [(0..4, 0..4), (2..6, 4..6), (4..8, 6..8)]);
        assert_eq!(cuts(&text(4, &[], &[1]), 4, 4), [(0..3, 0..3), (3..4, 3..4)]);
        // The anchor in front of 2 takes a place; that in front of 3 would stand at the window's edge.
        assert_eq!(cuts(&text(6, &[2, 3], &[]), 4, 4), [(0..3, 0..3), (3..6, 3..6)]);
        assert_eq!(text(10, &[], &[]).windows(4, 4, 2).unwrap().len(), 2);
    }

    #[test]
    fn a_stride_that_does_not_get_on_is_refused() {
        let text = text(10, &[], &[1]);
        for (size, stride) in [(4, 0), (4, 5), (1, 1), (4, 1)] {
            assert!(
                matches!(text.windows(size, stride, 9), Err(EvalError::Setting { .. })),
                "{size}, {stride}"
            );
        }
        assert_eq!(text.windows(4, 2, 99).unwrap().last().unwrap().counted.end, 10);
    }

    #[test]
    fn anchors_put_in_are_told_from_text() {
        assert_eq!(origins(&[5, 6, 7], &[5, 9, 6, 7]), [Some(0), None, Some(1), Some(2)]);
        assert_eq!(origins(&[5, 9, 7], &[5, 9, 9, 7]), [Some(0), Some(1), None, Some(2)]);
    }
}
