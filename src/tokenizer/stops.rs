//! Stop strings in text that arrives in pieces.
//!
//! A stop string may begin in one piece and end in another, and no part of it may be shown. So text that could be the
//! beginning of one waits until it is certain that it is not; all else is shown at once.
//!
//! The stop string that is complete first is the one found, and of several that end together the longest. A find
//! therefore never depends on text that comes later, nor on where the pieces were cut.

use super::Tokenizer;
use super::error::TokenizerError;

/// Most stop strings.
pub const MAX_STOPS: usize = 64;
/// Most bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 1024;

/// Looks for stop strings in streamed text.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Bytes of the longest stop string.
    longest: usize,
    /// Text that may be the beginning of a stop string, shorter than the longest of them.
    held: String,
    found: bool,
}

impl StopStrings {
    /// Stops at any of `stops`; with none of them all text passes.
    ///
    /// # Errors
    /// [`TokenizerError::StopCount`] beyond [`MAX_STOPS`]; [`TokenizerError::StopLength`] for an empty string and
    /// beyond [`MAX_STOP_BYTES`].
    pub fn new(stops: Vec<String>) -> Result<Self, TokenizerError> {
        if stops.len() > MAX_STOPS {
            return Err(TokenizerError::StopCount { count: stops.len(), limit: MAX_STOPS });
        }
        let lengths = || stops.iter().map(String::len);
        if let Some((index, bytes)) =
            lengths().enumerate().find(|(_, bytes)| !(1..=MAX_STOP_BYTES).contains(bytes))
        {
            return Err(TokenizerError::StopLength { index, bytes, limit: MAX_STOP_BYTES });
        }
        Ok(Self { longest: lengths().max().unwrap_or(0), stops, held: String::new(), found: false })
    }

    /// The special tokens that a stop spells: they give no text in which it could be found.
    pub fn special_ids<'a>(&'a self, tokenizer: &'a Tokenizer) -> impl Iterator<Item = u32> + 'a {
        let spelled = |id: &u32| tokenizer.token_bytes(*id).and_then(|bytes| String::from_utf8(bytes).ok());
        let is_stop = move |id: &u32| spelled(id).is_some_and(|text| self.stops.contains(&text));
        tokenizer.special_ids().iter().copied().filter(is_stop)
    }

    /// Takes a piece of text. Returns what may be shown now, and the index of the stop string if this piece completes
    /// one. What stands before it is shown, it and what follows it never, and later pieces give nothing.
    pub fn push(&mut self, piece: &str) -> (String, Option<usize>) {
        if self.found {
            return (String::new(), None);
        }
        self.held.push_str(piece);
        let ends = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop)?;
            Some((start.saturating_add(stop.len()), start, index))
        });
        if let Some((_, start, index)) = ends.min() {
            self.found = true;
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), Some(index));
        }
        let tail = self.held.split_off(self.certain());
        (std::mem::replace(&mut self.held, tail), None)
    }

    /// Ends the text: what was held back, for now it will not become a stop string. All is as new afterwards.
    pub fn finish(&mut self) -> String {
        self.found = false;
        std::mem::take(&mut self.held)
    }

    /// Bytes of `held` before its longest tail that is the beginning of a stop string.
    fn certain(&self) -> usize {
        let tails = self.held.char_indices().rev().filter_map(|(at, _)| Some((at, self.held.get(at..)?)));
        tails
            .take_while(|(_, tail)| tail.len() < self.longest)
            .filter(|(_, tail)| self.stops.iter().any(|stop| stop.starts_with(tail)))
            .last()
            .map_or(self.held.len(), |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(stops: &[&str]) -> StopStrings {
        StopStrings::new(stops.iter().map(|stop| (*stop).to_owned()).collect()).unwrap()
    }

    /// All that is shown, and the stop string found, if `pieces` are the whole text.
    fn streamed(mut stops: StopStrings, pieces: &[&str]) -> (String, Option<usize>) {
        let (mut shown, mut found) = (String::new(), None);
        for piece in pieces {
            let (text, index) = stops.push(piece);
            assert!(found.is_none() || (text.is_empty() && index.is_none()), "text after the stop string");
            shown += &text;
            found = found.or(index);
        }
        (shown + &stops.finish(), found)
    }

    /// The same by looking at every beginning of the text, from the shortest on.
    fn naive(stops: &[&str], text: &str) -> (String, Option<usize>) {
        for (end, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let seen = &text.as_bytes()[..end];
            let ending = stops.iter().enumerate().filter(|(_, stop)| seen.ends_with(stop.as_bytes()));
            if let Some((index, stop)) = ending.rev().max_by_key(|(_, stop)| stop.len()) {
                let shown = String::from_utf8(seen[..end - stop.len()].to_vec()).unwrap();
                return (shown, Some(index));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn holds_back_only_what_may_become_a_stop_string() {
        let mut stops = stops(&["\nUser:", "</s>"]);
        assert_eq!(stops.push("Hello <"), ("Hello ".into(), None));
        assert_eq!(stops.push("b> \nU"), ("<b> ".into(), None));
        assert_eq!(stops.push("ser"), (String::new(), None));
        assert_eq!(stops.push(": I"), (String::new(), Some(0)));
        assert_eq!(stops.push(" more </s>"), (String::new(), None), "nothing is accepted after a find");
        assert_eq!(stops.finish(), "");
        assert_eq!(stops.push("a</"), ("a".into(), None));
        assert_eq!(stops.finish(), "</");
    }

    #[test]
    fn of_two_stop_strings_that_end_together_the_longer_is_found() {
        assert_eq!(streamed(stops(&["b", "ab", "b"]), &["xa", "b"]), ("x".into(), Some(1)));
        assert_eq!(
            streamed(stops(&["abcd", "bc"]), &["abcd"]),
            ("a".into(), Some(1)),
            "bc is complete first"
        );
        assert_eq!(streamed(stops(&["b", "b"]), &["ab"]), ("a".into(), Some(0)));
        assert_eq!(streamed(stops(&[]), &["a", "b"]), ("ab".into(), None));
    }

    #[test]
    fn refuses_stop_strings_without_text_and_beyond_the_bounds() {
        let refused = |stops: Vec<String>| StopStrings::new(stops).unwrap_err();
        let length = |index, bytes| TokenizerError::StopLength { index, bytes, limit: MAX_STOP_BYTES };
        assert_eq!(refused(vec!["a".into(), String::new()]), length(1, 0));
        assert_eq!(refused(vec!["a".repeat(1025)]), length(0, 1025));
        assert_eq!(refused(vec!["a".into(); 65]), TokenizerError::StopCount { count: 65, limit: 64 });
        assert!(StopStrings::new(vec!["a".repeat(1024); 64]).is_ok());
        assert_eq!(length(1, 0).to_string(), "stop string 1 has 0 bytes, allowed are 1 to 1024");
    }

    #[test]
    fn the_worst_texts_take_linear_time() {
        let like = |c: char| format!("{}{c}{}", "a".repeat(500), "a".repeat(500));
        let mut stops = StopStrings::new(('b'..='q').map(like).collect()).unwrap();
        let started = std::time::Instant::now();
        let shown: usize = (0..4000).map(|_| stops.push("aaa").0.len()).sum();
        assert_eq!(shown + stops.finish().len(), 12_000);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_split_finds_what_a_search_in_the_whole_text_finds(
            list in prop::collection::vec("[ab\u{e9}\u{2693}]{1,4}", 0..4),
            text in "[ab\u{e9}\u{2693}]{0,14}",
            cut in 0usize..15,
        ) {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let want = naive(&list, &text);
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            for &end in &ends {
                let (head, tail) = text.split_at(end);
                prop_assert_eq!(streamed(stops(&list), &[head, tail]), want.clone(), "{:?} {:?}", list, end);
                let (middle, last) = tail.split_at(tail.char_indices().nth(cut).map_or(tail.len(), |(at, _)| at));
                prop_assert_eq!(streamed(stops(&list), &[head, middle, last]), want.clone());
            }
            let single: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<&str> = single.iter().map(String::as_str).collect();
            prop_assert_eq!(streamed(stops(&list), &single), want);
        }
    }
}
