//! What a model is worth under a policy: the loss on held-out text, multiple choice, and the recall of a fact.
//!
//! ```text
//! text.rs        a text as tokens, with the places of inserted anchors, and windows of it
//! perplexity.rs  the loss on it, with what the cache held
//! budget.rs      a policy's bounds made to fit a number of entries
//! judge.rs       how likely each of several continuations of a context is; the context is read once
//! items.rs       multiple-choice items, read from JSONL
//! choices.rs     accuracy on them, with demonstrations
//! recall.rs      a fact stated n sentences ago, asked for now
//! facts.rs       the facts, and sentences that have nothing to do with them
//! chart.rs       lines over points, as SVG
//! ```
//!
//! A measurement is made under one policy at a time and returns plain numbers; which policies stand beside each other is the
//! caller's choice. Every policy is measured on the same tokens of text: anchors that a policy inserts are read, and remembered,
//! but what they cost is not counted.

mod budget;
mod chart;
mod choices;
mod facts;
mod items;
mod judge;
mod perplexity;
mod recall;
mod text;

pub use budget::with_budget;
pub use chart::{Chart, Line};
pub use choices::{ChoiceReport, Choices, PromptOptions, Uncached, choices, uncached};
pub use facts::{FactKind, filler_of};
pub use items::{Item, items};
pub use judge::{Judge, Judged, Verdict};
pub use perplexity::{LossReport, perplexity};
pub use recall::{RecallOptions, RecallReport, Trial, recall, trials};
pub use text::{HeldOut, Reading, Window};

use crate::kv::{KvError, Policy, Preset};
use crate::model_file::{QUOTED_CHARS, cut};
use crate::sampling::philox;
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A session that reads for it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The cache policy.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A line that is no item.
    #[error("{file}, line {line}: field {field:?} is {found}, it must be {need}")]
    Field {
        /// Name of the file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: &'static str,
        /// Its value, cut at 64 characters, or that it is missing.
        found: String,
        /// What it must be.
        need: String,
    },
    /// A line that is no JSON object.
    #[error("{file}, line {line}: {problem}")]
    Line {
        /// Name of the file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Too little to measure with.
    #[error("there are {have} {what}, at least {need} are needed")]
    TooFew {
        /// What is too few.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many it takes.
        need: usize,
    },
    /// A setting that makes no sense, by itself or beside another.
    #[error("{field} is {value}, it must be {need}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        need: String,
    },
}

impl EvalError {
    /// Whether the device is at fault rather than the input.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Session(error) if error.is_device())
    }
}

/// What a measurement tells about its progress: steps done, and steps in all.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// The same function as `policy` for a text of at most `longest` tokens: the capacity of `full` is cut to it, so that memory for
/// a trained context of many thousands is not taken for a text of hundreds.
pub fn fitted(policy: &Policy, longest: usize) -> Policy {
    let longest = u32::try_from(longest).unwrap_or(u32::MAX).max(1);
    match policy.limit {
        Some(limit) if policy.preset == Preset::Full && longest < limit => {
            Policy { limit: Some(longest), window: policy.window.min(longest), ..policy.clone() }
        }
        _ => policy.clone(),
    }
}

/// Mean of `values` and its standard error (that of a sample, with n - 1); 0 where there are too few.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    if n < 1.0 {
        return (0.0, 0.0);
    }
    let mean = values.clone().sum::<f64>() / n;
    if n < 2.0 {
        return (mean, 0.0);
    }
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Numbers drawn in order; the same seed and stream draw the same.
struct Dice {
    seed: u64,
    stream: u32,
    drawn: u32,
}

impl Dice {
    fn new(seed: u64, stream: u32) -> Self {
        Self { seed, stream, drawn: 0 }
    }

    /// A number below `n`, 0 where `n` is 0.
    fn below(&mut self, n: usize) -> usize {
        let [high, low, ..] =
            philox::philox([self.drawn, self.stream, 0, 0], [self.seed as u32, (self.seed >> 32) as u32]);
        self.drawn += 1;
        let bits = u64::from(high) << 32 | u64::from(low);
        ((u128::from(bits) * n as u128) >> 64) as usize
    }

    /// `n` different indices below `from`, in the order drawn; all of them if there are fewer.
    fn pick(&mut self, n: usize, from: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..from).collect();
        let n = n.min(from);
        for i in 0..n {
            all.swap(i, i + self.below(from - i));
        }
        all.truncate(n);
        all
    }
}

/// A value cut at [`QUOTED_CHARS`], control characters spelled out.
fn shortened(value: &impl std::fmt::Display) -> String {
    let text = value.to_string();
    let (head, rest) = cut(&text, QUOTED_CHARS);
    let spelled = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    format!("{}{rest}", head.chars().map(spelled).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_error_is_that_of_a_sample() {
        assert_eq!(mean_and_error([1.0, 0.0, 1.0, 1.0].into_iter()), (0.75, 0.25));
        assert_eq!(mean_and_error([3.0].into_iter()), (3.0, 0.0));
        assert_eq!(mean_and_error([].into_iter()), (0.0, 0.0));
    }

    #[test]
    fn picks_are_different_in_range_and_follow_the_seed() {
        let picks = |seed, stream| Dice::new(seed, stream).pick(10, 100);
        let mut sorted = picks(1, 0);
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 10);
        assert!(sorted.iter().all(|i| *i < 100));
        assert_eq!(picks(1, 0), picks(1, 0));
        assert_ne!(picks(1, 0), picks(2, 0));
        assert_ne!(picks(1, 0), picks(1, 1));
        assert_eq!(Dice::new(0, 0).pick(5, 3).len(), 3);
        // Each of four is drawn about a quarter of the time.
        let mut dice = Dice::new(3, 0);
        let mut counts = [0; 4];
        (0..4000).for_each(|_| counts[dice.below(4)] += 1);
        assert!(counts.iter().all(|count| (880..1120).contains(count)), "{counts:?}");
    }
}
