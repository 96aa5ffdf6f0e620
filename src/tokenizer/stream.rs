//! Text from tokens as they arrive, without ever showing half a character.
//!
//! A token is a run of bytes that may begin or end inside a character. The stream shows everything up to the last
//! complete character and keeps the rest (three bytes at most) until the next token completes it or makes it invalid.

use super::Tokenizer;

/// Decodes generated tokens one by one.
///
/// The pieces put together are exactly what [`Tokenizer::decode`] gives for all tokens at once (with special tokens
/// left out), but a leading space is kept: a stream continues a text.
#[derive(Debug, Clone)]
pub struct DecodeStream {
    tokenizer: Tokenizer,
    /// Ids that give no text, sorted.
    hidden: Vec<u32>,
    utf8: Utf8Stream,
}

impl DecodeStream {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, hidden: Vec::new(), utf8: Utf8Stream::default() }
    }

    /// The same stream, in which `ids` give no text either: anchors that were inserted and that nobody wrote.
    #[must_use]
    pub fn hide(mut self, ids: &[u32]) -> Self {
        self.hidden.extend(ids);
        self.hidden.sort_unstable();
        self
    }

    /// Takes one token and returns the text that it completes, often all of its own, sometimes none.
    ///
    /// Special and hidden tokens, and ids without a token (rows of the output matrix past the vocabulary) give nothing.
    pub fn push(&mut self, id: u32) -> String {
        match self.tokenizer.bytes(id) {
            Some(bytes) if !self.leaves_out(id) => self.utf8.push(bytes),
            _ => String::new(),
        }
    }

    fn leaves_out(&self, id: u32) -> bool {
        self.tokenizer.is_special(id) || self.hidden.binary_search(&id).is_ok()
    }

    /// Ends the text: U+FFFD if it stops inside a character, else nothing. The stream is as new afterwards.
    pub fn finish(&mut self) -> String {
        self.utf8.finish()
    }
}

/// Incremental form of `String::from_utf8_lossy`: U+FFFD for every run of bytes that can no longer become valid.
#[derive(Debug, Clone, Default)]
pub(super) struct Utf8Stream {
    /// The start of a character that is still valid so far, 0 to 3 bytes.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes and returns all text that can no longer change.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest: &[u8] = &[];
        for chunk in self.pending.utf8_chunks() {
            // Something follows the last invalid bytes, so they stay invalid.
            if !std::mem::take(&mut rest).is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
            text.push_str(chunk.valid());
            rest = chunk.invalid();
        }
        if std::str::from_utf8(rest).is_err_and(|error| error.error_len().is_some()) {
            rest = &[];
            text.push(char::REPLACEMENT_CHARACTER);
        }
        self.pending = rest.to_vec();
        text
    }

    /// What the bytes still waiting stand for, now that no more will come.
    pub(super) fn finish(&mut self) -> String {
        let half = !std::mem::take(&mut self.pending).is_empty();
        if half { char::REPLACEMENT_CHARACTER.to_string() } else { String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn streamed(parts: &[Vec<u8>]) -> String {
        let mut stream = Utf8Stream::default();
        let text: String = parts.iter().map(|part| stream.push(part)).collect();
        text + &stream.finish()
    }

    #[test]
    fn holds_back_a_character_until_it_is_whole() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xe2"), "a");
        assert_eq!(stream.push(b"\x9a"), "");
        assert_eq!(stream.push(b"\x93b"), "\u{2693}b");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn replaces_bytes_as_soon_as_they_cannot_become_valid() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"\xe2\x9a"), "");
        assert_eq!(stream.push(b"x"), "\u{fffd}x");
        assert_eq!(stream.push(b"\xff"), "\u{fffd}");
        assert_eq!(stream.push(b"\xf0\x9f\x9a"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.push(b"ok"), "ok");
    }

    /// Bytes that are often part of a character, whole or broken.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            prop::sample::select(vec![0x80u8, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0xf0, 0x90, 0xf4, 0x8f])
                .prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn every_split_gives_the_text_of_the_whole(bytes in bytes(), cuts in prop::collection::vec(0usize..40, 0..8)) {
            let whole = String::from_utf8_lossy(&bytes).into_owned();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let parts: Vec<Vec<u8>> = cuts.windows(2).map(|w| bytes.iter().take(w[1]).skip(w[0]).copied().collect()).collect();
            prop_assert_eq!(streamed(&parts), whole.clone());
            let single: Vec<Vec<u8>> = bytes.iter().map(|byte| vec![*byte]).collect();
            prop_assert_eq!(streamed(&single), whole);
        }
    }
}
