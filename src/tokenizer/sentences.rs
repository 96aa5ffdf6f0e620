//! Where the sentences of a text end, for models that were trained with an anchor after each.
//!
//! The bounds are those of UAX #29, which knows the scripts of the world but neither abbreviations nor quoted speech,
//! and which takes quadratic time on long runs of spaces or brackets. So it gets a shadow of the text, in which every
//! such run is short, and what it says is corrected by a few rules, in the spirit of CLDR's suppressions.

use unicode_segmentation::UnicodeSegmentation;

/// Abbreviations that rarely end a sentence, in lower case and without their last full stop, sorted. Those of single
/// letters, such as "e.g." and "U.S.", need no entry.
const ABBREVIATIONS: [&str; 49] = [
    "adm", "al", "approx", "assn", "brig", "bros", "capt", "cf", "cmdr", "co", "col", "corp", "cpl", "dept",
    "dr", "esp", "etc", "fr", "gen", "gov", "hon", "inc", "jr", "lt", "ltd", "maj", "messrs", "mr", "mrs",
    "ms", "mt", "ph.d", "pres", "prof", "pvt", "rep", "resp", "rev", "sen", "sgt", "sr", "ss", "st", "supt",
    "univ", "v", "viz", "vs", "wm",
];
/// Abbreviations only where a number follows ("No. 5", "Jan. 5"), for elsewhere they are words or end a sentence.
const BEFORE_NUMBERS: [&str; 29] = [
    "apr", "art", "aug", "ca", "ch", "chap", "dec", "eq", "feb", "fig", "figs", "jan", "jul", "jun", "mar",
    "no", "nos", "nov", "oct", "p", "par", "pp", "pt", "sec", "sect", "sep", "sept", "vol", "vols",
];
/// More characters than any abbreviation has.
const LONG_WORD: usize = 12;
/// Characters in a row that are neither letters nor digits, beyond which the shadow leaves them out.
const LONGEST_RUN: usize = 64;

/// The sentences of `text`, in order and without a gap: put together they are the text.
///
/// White space between two sentences belongs to the second, at the end of the text to the last. A blank line ends a
/// sentence, a single line break does not. Takes linear time.
pub fn sentences(text: &str) -> Vec<&str> {
    let shadow = Shadow::of(text);
    let (mut found, mut rest, mut start, mut chars) = (Vec::new(), text, 0usize, 0usize);
    for piece in shadow.text.split_sentence_bounds() {
        let gap = piece.chars().next_back().filter(|c| c.is_whitespace());
        chars = chars.saturating_add(piece.chars().count());
        let next = chars.saturating_sub(usize::from(gap.is_some()));
        // None at the end of the text, which is no bound between two sentences.
        let bound = shadow.origin.get(next).filter(|_| chars < shadow.origin.len());
        let halves =
            bound.and_then(|&bound| Some((bound, rest.split_at_checked(bound.checked_sub(start)?)?)));
        if let Some((bound, (before, after))) = halves
            && !before.is_empty()
            && ends(before, after, gap)
        {
            found.push(before);
            (rest, start) = (after, bound);
        }
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

/// Whether the bound between `before`, the sentence so far, and `after` ends the sentence; `gap` is the white space
/// between them as the shadow has it.
fn ends(before: &str, after: &str, gap: Option<char>) -> bool {
    match gap {
        Some('\n') => true,
        Some(_) => !goes_on(before, after.trim_start()),
        // Full stops of scripts without spaces need none; "Yahoo!Mail" and "a?b=c" are no two sentences.
        None => !before.ends_with(|c: char| c.is_ascii() || c == '…'),
    }
}

/// Whether a sentence goes on in `after` although a mark that can end one is followed by white space.
fn goes_on(before: &str, after: &str) -> bool {
    let Some(head) = before.strip_suffix('.') else {
        // "Stop!" he said.
        return before.ends_with(['"', '\'', '”', '’', '»', ')', ']'])
            && after.starts_with(char::is_lowercase);
    };
    let word = |c: &char| c.is_alphanumeric() || *c == '.';
    let word: Vec<char> = head.chars().rev().take(LONG_WORD).take_while(word).collect();
    let word: String = word.into_iter().rev().collect();
    let lower = word.to_lowercase();
    let listed = |list: &[&str]| list.binary_search(&lower.as_str()).is_ok();
    let letters =
        || word.split('.').all(|part| part.chars().count() == 1 && !part.starts_with(char::is_numeric));
    let initials = (word.contains('.') || word.starts_with(char::is_uppercase)) && letters();
    listed(&ABBREVIATIONS)
        || (listed(&BEFORE_NUMBERS) && after.starts_with(char::is_numeric))
        || initials
        || is_numbering(head, &word)
}

/// Whether `word` at the end of `head` is the number of a list's entry, as in "1. First".
fn is_numbering(head: &str, word: &str) -> bool {
    let line = head.strip_suffix(word).unwrap_or(head).trim_end_matches([' ', '\t']);
    !word.is_empty() && word.chars().all(char::is_numeric) && (line.is_empty() || line.ends_with('\n'))
}

/// A text with the same sentences: white space is one character, a line break for blank lines and else a space, and
/// runs of characters that mean nothing to the bounds are cut.
#[derive(Default)]
struct Shadow {
    text: String,
    /// For each character of `text` the byte at which what it stands for begins.
    origin: Vec<usize>,
}

impl Shadow {
    fn of(text: &str) -> Self {
        let (mut shadow, mut gap, mut run) = (Self::default(), None, 0usize);
        for (at, c) in text.char_indices() {
            if c.is_whitespace() {
                let (_, lines) = gap.get_or_insert((at, 0u8));
                *lines = lines.saturating_add(u8::from(c == '\n'));
                continue;
            }
            if let Some((at, lines)) = gap.take() {
                let blank = lines > 1;
                run = if blank { 0 } else { run.saturating_add(1) };
                shadow.put(at, if blank { '\n' } else { ' ' }, run);
            }
            run = if is_word(c) { 0 } else { run.saturating_add(1) };
            shadow.put(at, shape(c), run);
        }
        shadow
    }

    fn put(&mut self, at: usize, c: char, run: usize) {
        if run <= LONGEST_RUN {
            self.text.push(c);
            self.origin.push(at);
        }
    }
}

/// Whether the segmentation is sure to forget a full stop before this character: a letter or a digit, save the one
/// mark that Unicode also counts among the letters in lower case.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() && c != '\u{345}'
}

/// What stands for a character in the shadow. An ellipsis is three full stops; a letter without case may be a vowel
/// sign, which would not count, so a Hebrew one stands for it.
fn shape(c: char) -> char {
    match c {
        '…' => '.',
        c if c.is_alphabetic() && !c.is_lowercase() && !c.is_uppercase() => '\u{5d0}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_their_words_short() {
        for list in [&ABBREVIATIONS[..], &BEFORE_NUMBERS] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
            assert!(list.iter().all(|word| word.len() < LONG_WORD && *word == word.to_lowercase()));
        }
    }

    #[test]
    fn the_segmentation_forgets_a_full_stop_at_every_letter_and_digit() {
        // If the first sentence reached beyond `c`, a run of `c` would make the segmentation quadratic.
        let keeps = |c: char| {
            let text = format!("x.{c}\u{5d0}");
            text.split_sentence_bounds().next().is_some_and(|first| first == format!("x.{c}"))
        };
        assert!(keeps('\u{345}') && keeps(')') && keeps('\u{93f}'), "the check does not see the danger");
        let all = (0..=u32::from(char::MAX)).filter_map(char::from_u32);
        let danger: Vec<char> = all.filter(|&c| is_word(c) && keeps(shape(c))).collect();
        assert!(danger.is_empty(), "{danger:?}");
    }

    #[test]
    fn runs_are_cut_in_the_shadow_only() {
        let shadow = Shadow::of(&format!("a.{}b \n \n c", ") \u{301}".repeat(100)));
        assert_eq!(shadow.text.chars().count(), shadow.origin.len());
        assert_eq!(shadow.text.len(), 1 + LONGEST_RUN + shadow.text.matches('\u{301}').count() + 3);
        assert!(shadow.text.ends_with("b\nc"));
    }
}
