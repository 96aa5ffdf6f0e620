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
        let demonstrations = drawn.iter().map(|i| pool[*i].clone()).collect();
        if others.is_none() {
            let rest = items.into_iter().enumerate().filter(|(i, _)| !drawn.contains(i));
            items = rest.map(|(_, item)| item).collect();
        }
        items.truncate(limit);
        if items.is_empty() {
            return Err(EvalError::TooFew { what: "items to answer", have: 0, need: 1 });
        }
        Ok(Self { demonstrations, items, prompt })
    }

    /// The ids of the opening, which are those of the demonstrations with what stands in front of every text, and those of each item.
    /// Without demonstrations there is no opening, and each item is a text of its own.
    fn encode(&self, tokenizer: &Tokenizer, policy: &Policy) -> Result<(Vec<u32>, Vec<Asked>), EvalError> {
        let PromptOptions { delimiter, separator } = &self.prompt;
        let mut pieces = Vec::new();
        for (i, item) in self.demonstrations.iter().enumerate() {
            let separator = if i > 0 { separator } else { "" };
            pieces.push(format!("{separator}{}{delimiter}{}", item.query, right_choice(item)?));
        }
        let opening = beginning(tokenizer, policy, &pieces)?;
        let (opening, start) = if pieces.is_empty() { (Vec::new(), Some(opening)) } else { (opening, None) };
        let mut asked = Vec::new();
        for item in &self.items {
            asked.push(self.ask(tokenizer, item, start.as_deref())?);
        }
        Ok((opening, asked))
    }

    /// The ids of one item, which begins with `start` where it is a text of its own.
    fn ask(&self, tokenizer: &Tokenizer, item: &Item, start: Option<&[u32]>) -> Result<Asked, EvalError> {
        right_choice(item)?;
        let PromptOptions { delimiter, separator } = &self.prompt;
        let separator = if start.is_some() { "" } else { separator };
        let (head, gap) = delimiter.split_at(delimiter.trim_end().len());
        let query = piece_of(tokenizer, &format!("{separator}{}{head}", item.query), start.is_some())?;
        let mut choices = Vec::new();
        for choice in &item.choices {
            choices.push(piece_of(tokenizer, &format!("{gap}{choice}"), false)?);
        }
        Ok(Asked { context: [start.unwrap_or_default(), &query].concat(), choices })
    }
}

/// The text of the right choice.
fn right_choice(item: &Item) -> Result<&str, EvalError> {
    let right = item.choices.get(item.gold).map(String::as_str);
    right.ok_or_else(|| EvalError::Setting {
        field: "gold",
        value: item.gold.to_string(),
        need: format!("below {}, the number of choices", item.choices.len()),
    })
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
/// An item whose right choice is none of its choices, a text longer than `full` has room for, a plan that does not fit, the device.
pub async fn choices(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    policy: &Policy,
    options: SessionOptions,
    task: &Choices,
    progress: Progress<'_>,
) -> Result<ChoiceReport, EvalError> {
    let (opening, asked) = task.encode(tokenizer, policy)?;
    let policy = fitted(policy, longest(&opening, &asked));
    // What is made on first use is no part of the time.
    if let Some(item) = asked.first() {
        Judge::new(model, &policy, options, &opening).await?.judge(&item.context, &item.choices).await?;
    }
    let started = Instant::now();
    let mut judge = Judge::new(model, &policy, options, &opening).await?;
    let opening_seconds = if opening.is_empty() { 0.0 } else { started.elapsed().as_secs_f64() };

    let (mut judged, mut item_seconds) = (Vec::new(), Vec::new());
    for (i, item) in asked.iter().enumerate() {
        progress(i, asked.len());
        let started = Instant::now();
        judged.push(judge.judge(&item.context, &item.choices).await?);
        item_seconds.push(started.elapsed().as_secs_f64());
    }
    progress(asked.len(), asked.len());

    let answered = task.items.iter().zip(&judged);
    let kvs = judged.iter().map(|judged| judged.kv);
    let (acc, acc_stderr) = mean_and_error(answered.clone().map(hit));
    let (acc_norm, acc_norm_stderr) = mean_and_error(answered.map(hit_by_bytes));
    let reduction = kvs.clone().map(|kv| 1.0 - f64::from(kv.live) / f64::from(kv.seen.max(1)));
    let items = judged.len();
    Ok(ChoiceReport {
        items,
        acc,
        acc_stderr,
        acc_norm,
        acc_norm_stderr,
        cache_reduction: mean_and_error(reduction).0,
        live: mean_and_error(kvs.clone().map(|kv| f64::from(kv.live))).0,
        peak_live: judged.iter().map(|judged| judged.peak_live).max().unwrap_or_default(),
        kv_bytes_live: mean_and_error(kvs.map(|kv| kv.bytes_live as f64)).0,
        kv_bytes_allocated: judge.kv_bytes(),
        opening_seconds,
        seconds_per_item: (opening_seconds + item_seconds.iter().sum::<f64>()) / (items.max(1) as f64),
        logprobs: judged.iter().map(|judged| judged.verdicts.iter().map(|v| v.logprob).collect()).collect(),
        item_seconds,
    })
}

/// 1 if the right choice has the largest log-likelihood, else 0.
fn hit((item, judged): (&Item, &Judged)) -> f64 {
    let scores = judged.verdicts.iter().map(|verdict| verdict.logprob);
    f64::from(best(scores) == item.gold)
}

/// 1 if the right choice has the largest log-likelihood by its bytes, else 0.
fn hit_by_bytes((item, judged): (&Item, &Judged)) -> f64 {
    let verdicts = judged.verdicts.iter().zip(&item.choices);
    let scores = verdicts.map(|(verdict, choice)| verdict.logprob / choice.len() as f64);
    f64::from(best(scores) == item.gold)
}

/// Index of the largest, the first of equals.
fn best(scores: impl Iterator<Item = f64>) -> usize {
    let larger = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    match scores.enumerate().reduce(larger) {
        Some((i, _)) => i,
        None => unreachable!("an item has a choice, the right one"),
    }
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

/// The time that the first `items` items take under `full` if nothing is kept between texts: the demonstrations, the query and the
/// choice are read anew for every choice.
///
/// # Errors
/// As [`choices`].
pub async fn uncached(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    options: SessionOptions,
    task: &Choices,
    items: usize,
) -> Result<Uncached, EvalError> {
    let policy = PolicySpec::new(Preset::Full).resolve(model.config())?;
    let (opening, asked) = task.encode(tokenizer, &policy)?;
    let policy = fitted(&policy, longest(&opening, &asked));
    let mut session = Session::new(model, &policy, options).await?;
    // What is made on first use is no part of the time.
    if let Some(item) = asked.first() {
        read_anew(&mut session, &opening, item).await?;
    }
    let measured = asked.len().min(items);
    let started = Instant::now();
    for item in &asked[..measured] {
        read_anew(&mut session, &opening, item).await?;
    }
    let seconds_per_item = started.elapsed().as_secs_f64() / (measured.max(1) as f64);
    Ok(Uncached { items: measured, seconds_per_item })
}

/// Reads the opening, the query and a choice from the first token on, for every choice.
async fn read_anew(session: &mut Session, opening: &[u32], item: &Asked) -> Result<(), EvalError> {
    let before = [opening, &item.context].concat();
    for choice in &item.choices {
        judge_anew(session, &before, choice).await?;
    }
    Ok(())
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
    fn an_item_whose_right_choice_is_none_of_its_choices_is_refused() {
        let mut item = numbered(1).remove(0);
        assert_eq!(right_choice(&item).unwrap(), "a");
        item.gold = 2;
        assert_eq!(
            right_choice(&item).unwrap_err().to_string(),
            "gold is 2, it must be below 2, the number of choices"
        );
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
