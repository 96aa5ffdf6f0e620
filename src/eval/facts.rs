//! Facts to be recalled, and sentences that have nothing to do with them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Dice;
use crate::tokenizer::sentences;

/// What is to be recalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FactKind {
    /// A first name.
    Name,
    /// A number of two digits.
    Number,
}

/// Who has a name.
const PEOPLE: [&str; 12] = [
    "captain of the ship",
    "owner of the mill",
    "keeper of the lighthouse",
    "doctor of the village",
    "teacher of the school",
    "youngest of the sisters",
    "driver of the coach",
    "painter of the picture",
    "head of the kitchen",
    "judge of the contest",
    "leader of the band",
    "writer of the letter",
];

/// The names.
const NAMES: [&str; 24] = [
    "Anna", "Henry", "Martha", "Thomas", "Edward", "Alice", "George", "Helen", "Robert", "Lucy", "Arthur",
    "Rose", "Walter", "Grace", "Peter", "Emma", "Simon", "Clara", "Daniel", "Jane", "Martin", "Laura",
    "Samuel", "Ruth",
];

/// What has a number.
const THINGS: [&str; 12] =
    ["room", "house", "ticket", "key", "page", "seat", "box", "bus", "boat", "road", "cabin", "prize"];

/// Two digits, and not a round number.
const NUMBERS: std::ops::RangeInclusive<usize> = 21..=99;

/// Beginnings of neutral sentences.
const TIMES: [&str; 10] = [
    "In the morning",
    "Later that day",
    "As so often",
    "For a while",
    "All the time",
    "Toward evening",
    "After the rain",
    "Before long",
    "Now and then",
    "At the same hour",
];

/// Middles of neutral sentences.
const EVENTS: [&str; 12] = [
    "the old horse stood",
    "a light wind blew",
    "the children played",
    "some birds were singing",
    "a grey cat slept",
    "the tall grass moved",
    "people walked slowly",
    "the smoke rose",
    "a dog barked",
    "fresh bread was sold",
    "the water ran",
    "two friends talked",
];

/// Ends of neutral sentences.
const PLACES: [&str; 10] = [
    "near the gate",
    "behind the barn",
    "along the river",
    "by the open window",
    "under the trees",
    "beside the well",
    "at the corner",
    "across the square",
    "below the bridge",
    "in the yard",
];

/// A statement without its last word and full stop, and answers to it, the first of which is right.
pub(super) struct Fact {
    pub(super) cue: String,
    pub(super) answers: Vec<String>,
}

/// Draws a fact with `distractors` wrong answers.
pub(super) fn draw(kind: FactKind, distractors: usize, dice: &mut Dice) -> Fact {
    let one = |list: &[&'static str], dice: &mut Dice| list[dice.below(list.len())];
    match kind {
        FactKind::Name => {
            let cue = format!("The {} is called", one(&PEOPLE, dice));
            let drawn = dice.pick(distractors + 1, NAMES.len());
            Fact { cue, answers: drawn.into_iter().map(|i| NAMES[i].to_owned()).collect() }
        }
        FactKind::Number => {
            let cue = format!("The number of the {} is", one(&THINGS, dice));
            let all: Vec<usize> = NUMBERS.filter(|number| number % 10 != 0).collect();
            let drawn = dice.pick(distractors + 1, all.len());
            Fact { cue, answers: drawn.into_iter().map(|i| all[i].to_string()).collect() }
        }
    }
}

/// The most wrong answers that can be drawn.
pub(super) const MOST_DISTRACTORS: usize = NAMES.len() - 1;

/// Neutral sentences that name none of the answers: those of `text` that are fit, in their order, or without a text 1,200 built-in
/// ones.
///
/// Fit are sentences of 4 to 40 words on one line that end in a full stop, a question or an exclamation mark and hold neither a
/// digit nor one of the names.
pub fn filler_of(text: Option<&str>) -> Vec<String> {
    let Some(text) = text else { return neutral() };
    let names: BTreeSet<&str> = NAMES.into_iter().collect();
    let fit = |sentence: &&str| {
        let words = sentence.split(|c: char| !c.is_alphanumeric());
        (4..=40).contains(&sentence.split(' ').count())
            && sentence.ends_with(['.', '?', '!'])
            && !sentence.contains(|c: char| c.is_numeric() || (c.is_whitespace() && c != ' '))
            && !words.into_iter().any(|word| names.contains(word))
    };
    sentences(text).into_iter().map(str::trim).filter(fit).map(str::to_owned).collect()
}

/// The built-in ones, in an order that never changes.
fn neutral() -> Vec<String> {
    let (events, places) = (EVENTS.len(), PLACES.len());
    let count = TIMES.len() * events * places;
    let sentence = |i: usize| {
        let parts =
            (TIMES.get(i / (events * places)), EVENTS.get(i / places % events), PLACES.get(i % places));
        let (Some(time), Some(event), Some(place)) = parts else { return String::new() };
        format!("{time} {event} {place}.")
    };
    Dice::new(0, 0).pick(count, count).into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_sentences_are_different_and_name_no_answer() {
        let all = filler_of(None);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 1200);
        assert_eq!(all, filler_of(Some(&all.join(" "))), "each of them is fit");
    }

    #[test]
    fn unfit_sentences_of_a_text_are_passed_over() {
        let text = "He went home in 1900. He went\nhome again. So it was then. Yes. My friend Anna came along. A heading \
                    without end\n\nWas it so cold then? Truly it was";
        assert_eq!(filler_of(Some(text)), ["So it was then.", "Was it so cold then?"]);
    }

    #[test]
    fn answers_of_a_fact_are_all_different() {
        for kind in [FactKind::Name, FactKind::Number] {
            let fact = draw(kind, MOST_DISTRACTORS, &mut Dice::new(5, 0));
            assert_eq!(fact.answers.iter().collect::<BTreeSet<_>>().len(), MOST_DISTRACTORS + 1);
        }
    }
}
