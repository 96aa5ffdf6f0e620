//! What a model thinks before it answers, between two marks of its chat template: `<think>` and `</think>`.
//!
//! It is shown apart from the answer, and most templates leave it out of the prompt of the next turn. No file says which
//! marks a model has, so those in use are looked for in the template and in the vocabulary.

use super::{ChatTemplate, Tokenizer};

/// The marks in use: what opens, what closes.
const PAIRS: [(&str, &str); 5] = [
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
];

/// The marks around what a model thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasoning {
    /// What opens it.
    pub open: &'static str,
    /// What closes it.
    pub close: &'static str,
    /// The special tokens that are the marks: they give no text in which they could be found.
    special: [Vec<u32>; 2],
}

/// A stretch of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its text, without the marks.
    pub text: String,
    /// Whether it was thought, not said.
    pub is_thought: bool,
}

impl Reasoning {
    /// The marks of a model; `None` for one that has none.
    pub(super) fn of(template: &ChatTemplate, tokenizer: &Tokenizer) -> Option<Self> {
        PAIRS.into_iter().find_map(|(open, close)| {
            let ids = [open, close].map(|mark| tokenizer.ids_of_bytes(mark.as_bytes()));
            let known = ids.iter().all(|ids| !ids.is_empty()) || template.source().contains(close);
            let special = ids.map(|ids| ids.into_iter().filter(|id| tokenizer.is_special(*id)).collect());
            known.then_some(Self { open, close, special })
        })
    }

    /// A whole answer with a thought in front.
    pub(super) fn around(&self, thought: &str, said: &str) -> String {
        format!("{}\n{thought}\n{}\n\n{said}", self.open, self.close)
    }

    /// Tells thought and answer apart in text that arrives in pieces. `opened` says that the prompt has opened a thought already.
    pub fn stream(&self, opened: bool) -> ReasoningStream {
        let place = if opened { Place::Opened } else { Place::Start };
        ReasoningStream { marks: self.clone(), place, held: String::new() }
    }

    /// The text of a piece of an answer, with the mark that its token may be.
    pub(crate) fn spelled<'t>(&self, text: &'t str, id: Option<u32>) -> &'t str {
        let [open, close] = &self.special;
        match id.filter(|_| text.is_empty()) {
            Some(id) if open.contains(&id) => self.open,
            Some(id) if close.contains(&id) => self.close,
            _ => text,
        }
    }

    /// What closes an answer that ends in the middle of a thought; nothing for one that does not.
    pub(crate) fn closing(&self, answer: &str, opened: bool) -> &'static str {
        let mut stream = self.stream(opened);
        stream.push(answer);
        if matches!(stream.place, Place::Opened | Place::Thought) { self.close } else { "" }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but white space yet.
    Start,
    /// A thought was opened; the line breaks after the mark are no part of it.
    Opened,
    Thought,
    /// A thought was closed; the white space after it is no part of the answer.
    Closed,
    Answer,
}

/// See [`Reasoning::stream`].
#[derive(Clone, Debug)]
pub struct ReasoningStream {
    marks: Reasoning,
    place: Place,
    /// Text of which it is not certain yet what it is.
    held: String,
}

impl ReasoningStream {
    /// Takes the text of a piece, and returns what is certain of it.
    pub fn push(&mut self, text: &str) -> Vec<Stretch> {
        self.held.push_str(text);
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out.retain(|stretch: &Stretch| !stretch.text.is_empty());
        out
    }

    /// What was held back.
    pub fn finish(&mut self) -> Vec<Stretch> {
        let text = std::mem::take(&mut self.held);
        let is_thought = self.place == Place::Thought;
        let shown = if matches!(self.place, Place::Opened | Place::Closed) { String::new() } else { text };
        if shown.is_empty() { Vec::new() } else { vec![Stretch { text: shown, is_thought }] }
    }

    /// Moves what is certain from `held` to `out`; false when more text is needed.
    fn step(&mut self, out: &mut Vec<Stretch>) -> bool {
        match self.place {
            Place::Start => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(self.marks.open) {
                    (self.held, self.place) = (rest.to_owned(), Place::Opened);
                    return true;
                }
                if self.marks.open.starts_with(text) {
                    return false;
                }
                self.place = Place::Answer;
                true
            }
            Place::Opened => {
                self.held = self.held.trim_start_matches('\n').to_owned();
                if !self.held.is_empty() {
                    self.place = Place::Thought;
                }
                !self.held.is_empty()
            }
            Place::Thought => {
                if let Some((thought, rest)) = self.held.split_once(self.marks.close) {
                    out.push(Stretch { text: thought.to_owned(), is_thought: true });
                    (self.held, self.place) = (rest.to_owned(), Place::Closed);
                    return true;
                }
                let tail = self.held.split_off(certain(&self.held, self.marks.close));
                out.push(Stretch { text: std::mem::replace(&mut self.held, tail), is_thought: true });
                false
            }
            Place::Closed => {
                let rest = self.held.trim_start().to_owned();
                if !rest.is_empty() {
                    self.place = Place::Answer;
                }
                self.held = rest;
                !self.held.is_empty()
            }
            Place::Answer => {
                out.push(Stretch { text: std::mem::take(&mut self.held), is_thought: false });
                false
            }
        }
    }
}

/// Bytes of `text` before its longest tail that is the beginning of `mark`.
fn certain(text: &str, mark: &str) -> usize {
    text.char_indices()
        .map(|(at, _)| at)
        .find(|at| text.get(*at..).is_some_and(|tail| mark.starts_with(tail)))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marks() -> Reasoning {
        Reasoning { open: "<think>", close: "</think>", special: [vec![], vec![]] }
    }

    /// What was thought and what was said, of an answer in these pieces.
    fn told(pieces: &[&str], opened: bool) -> [String; 2] {
        let mut stream = marks().stream(opened);
        let mut all: Vec<Stretch> = pieces.iter().flat_map(|piece| stream.push(piece)).collect();
        all.extend(stream.finish());
        [true, false].map(|thought| {
            all.iter()
                .filter(|stretch| stretch.is_thought == thought)
                .map(|stretch| stretch.text.as_str())
                .collect()
        })
    }

    #[test]
    fn a_thought_is_what_stands_between_the_marks_at_the_beginning() {
        for (text, opened, thought, said) in [
            ("Paris.", false, "", "Paris."),
            ("  Paris.", false, "", "  Paris."),
            ("<think>\nFrance?\n</think>\n\nParis.", false, "France?\n", "Paris."),
            ("\n<think>a</think>b <think>c</think>", false, "a", "b <think>c</think>"),
            ("France?\n</think>\n\nParis.", true, "France?\n", "Paris."),
            ("<think>never closed </thin", false, "never closed </thin", ""),
            ("<thin", false, "", "<thin"),
            ("A <think> in the middle", false, "", "A <think> in the middle"),
            ("<think></think>", false, "", ""),
            ("<think>\n\n</think>\n\nParis.", false, "", "Paris."),
            ("\nFrance?</think>Paris.", true, "France?", "Paris."),
        ] {
            assert_eq!(told(&[text], opened), [thought, said], "{text:?}");
        }
    }

    #[test]
    fn a_line_break_after_the_mark_is_none_of_the_thought_in_whatever_piece_it_comes() {
        assert_eq!(told(&["<think>", "\n", "Hm", "</think>", "\n", "Yes"], false), ["Hm", "Yes"]);
        assert_eq!(told(&["\n", "Hm"], true), ["Hm", ""]);
    }

    #[test]
    fn a_thought_that_was_cut_off_can_be_closed() {
        for (answer, opened, closing) in [
            ("<think>\nHm", false, "</think>"),
            ("<think>", false, "</think>"),
            ("Hm", true, "</think>"),
            ("", true, "</think>"),
            ("<think>a</think>", false, ""),
            ("Paris.", false, ""),
        ] {
            assert_eq!(marks().closing(answer, opened), closing, "{answer:?}");
        }
    }

    proptest! {
        #[test]
        fn where_a_text_is_cut_does_not_matter(
            parts in prop::collection::vec(prop_oneof!["<think>", "</think>", "</th", "\n", " ", "a", "é"], 0..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            opened: bool,
        ) {
            let text = parts.concat();
            let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let all = places.clone();
            places = cuts.iter().map(|cut| *cut.get(&all)).chain([0, text.len()]).collect();
            places.sort_unstable();
            let pieces: Vec<&str> = places.windows(2).filter_map(|pair| text.get(pair[0]..pair[1])).collect();
            prop_assert_eq!(told(&pieces, opened), told(&[&text], opened));
        }
    }
}
