//! Multiple choice by likelihood, with demonstrations: the paper's table for a model of one's own.
//!
//! A choice is right by accuracy if its text is the likeliest after the query, and by normalized accuracy if it is that per byte.
//! The demonstrations are the same for all items, so they are read once, and each item goes on from what is remembered of them; a
//! policy with inserted anchors puts one after each demonstration and none elsewhere.

use std::sync::Arc;

use serde::Serialize;
use web_time::Instant;

use super::judge::judge_anew;
use super::text::{beginning, piece_of};
use super::{Dice, EvalError, Item, Judge, Judged, Progress, fitted, mean_and_error};
use crate::kv::{Policy, PolicySpec, Preset};
use crate::model::Model;
use crate::session::{Session, SessionOptions};
use crate::tokenizer::Tokenizer;

/// How items become text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptOptions {
    /// Between a query and its choice. The white space that it ends with is predicted with the choice.
    pub delimiter: String,
    /// Between two demonstrations, and the last and the query.
    pub separator: String,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { delimiter: " ".to_owned(), separator: "\n\n".to_owned() }
    }
}

/// The items to answer, and the demonstrations in front of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Shown with their right choice, in this order.
    pub demonstrations: Vec<Item>,
    /// To be answered.
    pub items: Vec<Item>,
    /// How both are written.
    pub prompt: PromptOptions,
}

/// The result of [`choices`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChoiceReport {
    /// Items answered.
    pub items: usize,
    /// Share whose right choice has the largest likelihood.
    pub acc: f64,
    /// Its standard error.
    pub acc_stderr: f64,
    /// Share whose right choice has the largest log-likelihood by the bytes of the choice.
    pub acc_norm: f64,
    /// Its standard error.
    pub acc_norm_stderr: f64,
    /// C: 1 - live entries / tokens read, after the query, the mean over items.
    pub cache_reduction: f64,
    /// Live entries after the query, the mean over items.
    pub live: f64,
    /// The most live entries after any token.
    pub peak_live: u32,
    /// Bytes of `live` entries.
    pub kv_bytes_live: f64,
    /// Bytes of all slots of one session's cache.
    pub kv_bytes_allocated: u64,
    /// Time for the demonstrations.
    pub opening_seconds: f64,
    /// Time for an item, its share of the demonstrations' included.
    pub seconds_per_item: f64,
    /// Log-likelihoods of the choices of each item, in nats.
    pub logprobs: Vec<Vec<f64>>,
    /// Time for each item alone.
    #[serde(skip)]
    item_seconds: Vec<f64>,
}

/// What the items take without a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Uncached {
    /// Items measured, from the first on.
    pub items: usize,
    /// Time for one.
    pub seconds_per_item: f64,
}

/// The ids of one item.
struct Asked {
    context: Vec<u32>,
    choices: Vec<Vec<u32>>,
}

impl Choices {
    /// `shots` demonstrations drawn by `seed` from `others`, or from `items`, which are then not asked; of the rest the first `limit`
    /// items are.
    ///
    /// # Errors
    /// [`EvalError::TooFew`].
    pub fn new(
        mut items: Vec<Item>,
        others: Option<&[Item]>,
        shots: usize,
        limit: usize,
        seed: u64,
        prompt: PromptOptions,
    ) -> Result<Self, EvalError> {
        let pool = others.unwrap_or(&items);
        if pool.len() < shots {
            return Err(EvalError::TooFew {
                what: "items to draw demonstrations from",
                have: pool.len(),
                need: shots,
            });
        }
        let drawn = Dice::new(seed, 0).pick(shots, pool.len());
        let demonstrations = drawn.iter().filter_map(|i| pool.get(*i).cloned()).collect();
        if others.is_none() {
            let mut index = 0..;
            items.retain(|_| index.next().is_none_or(|i| !drawn.contains(&i)));
        }
        items.truncate(limit);
        if items.is_empty() {
            return Err(EvalError::TooFew { what: "items to answer", have: 0, need: 1 });
        }
        Ok(Self { demonstrations, items, prompt })
    }

    /// The ids of the demonstrations with what stands in front of every text, and those of each item.
    fn encode(&self, tokenizer: &Tokenizer, policy: &Policy) -> Result<(Vec<u32>, Vec<Asked>), EvalError> {
        let PromptOptions { delimiter, separator } = &self.prompt;
        let shown = |(i, item): (usize, &Item)| {
            let right = item.choices.get(item.gold).map_or("", String::as_str);
            let separator = if i > 0 { separator } else { "" };
            format!("{separator}{}{delimiter}{right}", item.query)
        };
        let pieces: Vec<String> = self.demonstrations.iter().enumerate().map(shown).collect();
        let alone = pieces.is_empty();
        let mut opening = beginning(tokenizer, policy, &pieces)?;
        let head = delimiter.trim_end();
        let gap = delimiter.get(head.len()..).unwrap_or_default();
        let prefix = if alone { std::mem::take(&mut opening) } else { Vec::new() };
        let asked = |item: &Item| {
            let separator = if alone { "" } else { separator };
            let query = piece_of(tokenizer, &format!("{separator}{}{head}", item.query), alone)?;
            let choices =
                item.choices.iter().map(|choice| piece_of(tokenizer, &format!("{gap}{choice}"), false));
            Ok(Asked {
                context: [&*prefix, &*query].concat(),
                choices: choices.collect::<Result<_, EvalError>>()?,
            })
        };
        Ok((opening, self.items.iter().map(asked).collect::<Result<_, EvalError>>()?))
    }
}

/// The most tokens that a text of the task has.
fn longest(opening: &[u32], asked: &[Asked]) -> usize {
    let whole =
        |item: &Asked| item.context.len() + item.choices.iter().map(Vec::len).max().unwrap_or_default();
    opening.len() + asked.iter().map(whole).max().unwrap_or_default()
}

/// Answers every item under `policy`.
///
/// # Errors
/// A text longer than `full` has room for, a plan that does not fit, the device.
pub async fn choices(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    policy: &Policy,
    task: &Choices,
    progress: Progress<'_>,
) -> Result<ChoiceReport, EvalError> {
    let (opening, asked) = task.encode(tokenizer, policy)?;
    let policy = fitted(policy, longest(&opening, &asked));
    // What is made on first use is no part of the time.
    if let Some(item) = asked.first() {
        Judge::new(model, &policy, &opening).await?.judge(&item.context, &item.choices).await?;
    }
    let started = Instant::now();
    let mut judge = Judge::new(model, &policy, &opening).await?;
    let opening_seconds = if opening.is_empty() { 0.0 } else { started.elapsed().as_secs_f64() };

    let (mut judged, mut item_seconds) = (Vec::new(), Vec::new());
    for (i, item) in asked.iter().enumerate() {
        progress(i, asked.len());
        let started = Instant::now();
        judged.push(judge.judge(&item.context, &item.choices).await?);
        item_seconds.push(started.elapsed().as_secs_f64());
    }
    progress(asked.len(), asked.len());

    let of_item = |value: &dyn Fn(&Item, &Judged) -> f64| {
        mean_and_error(task.items.iter().zip(&judged).map(|(item, judged)| value(item, judged)))
    };
    let hit = |item: &Item, score: &dyn Fn(usize, f64) -> f64, judged: &Judged| {
        let scores = judged.verdicts.iter().enumerate().map(|(i, verdict)| score(i, verdict.logprob));
        f64::from(best(scores) == item.gold)
    };
    let bytes = |item: &Item, i: usize| item.choices.get(i).map_or(1, String::len) as f64;
    let (acc, acc_stderr) = of_item(&|item, judged| hit(item, &|_, logprob| logprob, judged));
    let (acc_norm, acc_norm_stderr) =
        of_item(&|item, judged| hit(item, &|i, logprob| logprob / bytes(item, i), judged));
    let items = judged.len();
    Ok(ChoiceReport {
        items,
        acc,
        acc_stderr,
        acc_norm,
        acc_norm_stderr,
        cache_reduction: of_item(&|_, judged| {
            1.0 - f64::from(judged.kv.live) / f64::from(judged.kv.seen.max(1))
        })
        .0,
        live: of_item(&|_, judged| f64::from(judged.kv.live)).0,
        peak_live: judged.iter().map(|judged| judged.peak_live).max().unwrap_or_default(),
        kv_bytes_live: of_item(&|_, judged| judged.kv.bytes_live as f64).0,
        kv_bytes_allocated: judge.kv_bytes(),
        opening_seconds,
        seconds_per_item: (opening_seconds + item_seconds.iter().sum::<f64>()) / (items.max(1) as f64),
        logprobs: judged.iter().map(|judged| judged.verdicts.iter().map(|v| v.logprob).collect()).collect(),
        item_seconds,
    })
}

impl ChoiceReport {
    /// T: the time of an item without a cache by that with it, over the items that were measured without; the demonstrations' time is
    /// shared among all items.
    pub fn speedup(&self, uncached: &Uncached) -> f64 {
        let same = self.item_seconds.get(..uncached.items).unwrap_or(&self.item_seconds);
        let cached = same.iter().sum::<f64>() / (same.len().max(1) as f64)
            + self.opening_seconds / (self.items.max(1) as f64);
        uncached.seconds_per_item / cached.max(f64::MIN_POSITIVE)
    }
}

/// Index of the largest, the first of equals.
fn best(scores: impl Iterator<Item = f64>) -> usize {
    let larger = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    scores.enumerate().reduce(larger).map_or(0, |(i, _)| i)
}

/// The time that the first `items` items take under `full` if nothing is kept between texts: the demonstrations, the query and the
/// choice are read anew for every choice.
///
/// # Errors
/// As [`choices`].
pub async fn uncached(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    task: &Choices,
    items: usize,
) -> Result<Uncached, EvalError> {
    let policy = PolicySpec::new(Preset::Full).resolve(model.config())?;
    let (opening, asked) = task.encode(tokenizer, &policy)?;
    let policy = fitted(&policy, longest(&opening, &asked));
    let mut session = Session::new(model, &policy, SessionOptions::default()).await?;
    let (mut started, mut measured) = (Instant::now(), 0);
    for (i, item) in asked.iter().take(1).chain(asked.iter().take(items)).enumerate() {
        // The first is read once before, for what is made on first use.
        if i == 1 {
            started = Instant::now();
        }
        let before = [&*opening, &*item.context].concat();
        for choice in &item.choices {
            judge_anew(&mut session, &before, choice).await?;
        }
        measured = i;
    }
    let seconds_per_item = started.elapsed().as_secs_f64() / (measured.max(1) as f64);
    Ok(Uncached { items: measured, seconds_per_item })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> Vec<Item> {
        let item =
            |i| Item { query: format!("q{i}"), choices: vec!["a".to_owned(), "b".to_owned()], gold: i % 2 };
        (0..n).map(item).collect()
    }

    fn task(
        items: Vec<Item>,
        others: Option<&[Item]>,
        shots: usize,
        seed: u64,
    ) -> Result<Choices, EvalError> {
        Choices::new(items, others, shots, 10, seed, PromptOptions::default())
    }

    #[test]
    fn demonstrations_follow_the_seed_and_are_not_asked() {
        let first = task(numbered(20), None, 5, 1).unwrap();
        assert_eq!(first, task(numbered(20), None, 5, 1).unwrap());
        assert_ne!(first.demonstrations, task(numbered(20), None, 5, 2).unwrap().demonstrations);
        assert_eq!((first.demonstrations.len(), first.items.len()), (5, 10));
        assert!(first.items.iter().all(|item| !first.demonstrations.contains(item)));
        let apart = task(numbered(12), Some(&numbered(6)), 5, 1).unwrap();
        assert_eq!(apart.items, numbered(10));
    }

    #[test]
    fn too_few_items_are_refused() {
        assert!(matches!(task(numbered(4), None, 5, 1), Err(EvalError::TooFew { have: 4, need: 5, .. })));
        assert!(matches!(task(numbered(4), None, 4, 1), Err(EvalError::TooFew { have: 0, .. })));
    }

    #[test]
    fn the_first_of_equal_choices_is_taken() {
        assert_eq!(best([-2.0, -1.0, -1.0].into_iter()), 1);
        assert_eq!(best([-1.0, -3.0].into_iter()), 0);
    }

    #[test]
    fn time_without_a_cache_is_compared_over_the_same_items() {
        let report = ChoiceReport {
            items: 4,
            opening_seconds: 4.0,
            item_seconds: vec![1.0, 3.0, 100.0, 100.0],
            ..ChoiceReport::default()
        };
        // Two seconds for one of the first two items, and one for its share of the opening.
        assert_eq!(report.speedup(&Uncached { items: 2, seconds_per_item: 9.0 }), 3.0);
    }
}
