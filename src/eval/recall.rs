//! Recall: a fact stated n sentences ago, asked for now.
//!
//! ```text
//! lead sentences | the fact | n - 1 other sentences | the fact without its last word
//! ```
//!
//! The lead keeps the fact out of the pinned prefix. Right is a model that finds the stated word likelier than wrong ones that
//! stand nowhere in the text; exact, one that would write it. The same trials, with the same facts, are made at every n: only
//! the sentences between grow more.

use std::sync::Arc;

use serde::Serialize;

use super::facts::{self, MOST_DISTRACTORS};
use super::text::{beginning, piece_of};
use super::{Dice, EvalError, FactKind, Judge, Progress, fitted, mean_and_error};
use crate::kv::Policy;
use crate::model::Model;
use crate::session::SessionOptions;
use crate::tokenizer::Tokenizer;

/// How recall is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecallOptions {
    /// The distances n: the fact is the n-th sentence before the question.
    pub distances: Vec<usize>,
    /// Trials at each distance.
    pub trials: usize,
    /// Sentences before the fact.
    pub lead: usize,
    /// Wrong answers beside the right one.
    pub distractors: usize,
    /// Kinds of facts, in turn.
    pub kinds: Vec<FactKind>,
    /// The same seed makes the same trials.
    pub seed: u64,
}

impl Default for RecallOptions {
    fn default() -> Self {
        Self {
            distances: vec![1, 2, 4, 8, 16, 32],
            trials: 50,
            lead: 3,
            distractors: 4,
            kinds: vec![FactKind::Name, FactKind::Number],
            seed: 0,
        }
    }
}

/// One text with a question at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The text: lead, fact, and what stands between.
    pub sentences: Vec<String>,
    /// Index of the fact among them.
    pub fact: usize,
    /// The question: the fact without its last word.
    pub cue: String,
    /// Possible answers.
    pub answers: Vec<String>,
    /// Index of the right one.
    pub gold: usize,
}

/// The result of [`recall`] at one distance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecallReport {
    /// n.
    pub distance: usize,
    /// Trials made.
    pub trials: usize,
    /// Share in which the right answer was the likeliest.
    pub acc: f64,
    /// Its standard error.
    pub acc_stderr: f64,
    /// Share in which the model would have written the right answer, always taking the likeliest token.
    pub exact: f64,
    /// Its standard error.
    pub exact_stderr: f64,
    /// What guessing would give for `acc`.
    pub chance: f64,
    /// Tokens from the end of the fact to the end of the question, the mean.
    pub tokens_back: f64,
    /// C: 1 - live entries / tokens read, at the end of the question, the mean.
    pub cache_reduction: f64,
    /// Live entries there, the mean.
    pub live: f64,
    /// The most live entries after any token.
    pub peak_live: u32,
}

/// The trials at one distance, made of sentences of `filler`.
///
/// # Errors
/// Settings of which nothing can be made, or too few sentences.
pub fn trials(options: &RecallOptions, filler: &[String], distance: usize) -> Result<Vec<Trial>, EvalError> {
    let setting =
        |field, value: usize, need: String| EvalError::Setting { field, value: value.to_string(), need };
    if distance == 0 {
        return Err(setting("distance", 0, "at least 1".to_owned()));
    }
    if options.distractors == 0 || options.distractors > MOST_DISTRACTORS {
        return Err(setting("distractors", options.distractors, format!("1 to {MOST_DISTRACTORS}")));
    }
    if options.kinds.is_empty() || options.trials == 0 {
        return Err(setting("trials", 0, "at least 1, of at least one kind".to_owned()));
    }
    let need = options.lead.saturating_add(distance - 1);
    if filler.len() < need {
        return Err(EvalError::TooFew { what: "sentences to fill in", have: filler.len(), need });
    }
    let trial = |number: usize| {
        let mut dice = Dice::new(options.seed, number as u32);
        let kind = options.kinds[number % options.kinds.len()];
        let facts::Fact { cue, mut answers } = facts::draw(kind, options.distractors, &mut dice);
        let first = dice.below(filler.len());
        let mut others = filler.iter().cycle().skip(first).cloned();
        let mut sentences: Vec<String> = others.by_ref().take(options.lead).collect();
        sentences.push(format!("{cue} {}.", answers[0]));
        sentences.extend(others.take(distance - 1));
        let gold = dice.below(answers.len());
        answers.swap(0, gold);
        Trial { sentences, fact: options.lead, cue, answers, gold }
    };
    Ok((0..options.trials).map(trial).collect())
}

impl Trial {
    /// The ids of text and question, of each answer, and the tokens since the fact.
    fn encode(&self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Asked, EvalError> {
        let spaced =
            |(i, sentence): (usize, &String)| if i == 0 { sentence.clone() } else { format!(" {sentence}") };
        let pieces: Vec<String> = self.sentences.iter().enumerate().map(spaced).collect();
        let mut context = beginning(tokenizer, policy, &pieces)?;
        context.extend(piece_of(tokenizer, &format!(" {}", self.cue), false)?);
        let upto_fact = beginning(tokenizer, policy, &pieces[..=self.fact])?.len();
        let answers = self.answers.iter().map(|answer| piece_of(tokenizer, &format!(" {answer}"), false));
        Ok(Asked {
            tokens_back: context.len() - upto_fact,
            context,
            answers: answers.collect::<Result<_, _>>()?,
        })
    }
}

/// The ids of one trial.
struct Asked {
    context: Vec<u32>,
    answers: Vec<Vec<u32>>,
    tokens_back: usize,
}

/// Asks at every distance under `policy`.
///
/// # Errors
/// As [`trials`]; a text longer than `full` has room for, a plan that does not fit, the device.
pub async fn recall(
    model: &Arc<Model>,
    tokenizer: &Tokenizer,
    policy: &Policy,
    session: SessionOptions,
    options: &RecallOptions,
    filler: &[String],
    progress: Progress<'_>,
) -> Result<Vec<RecallReport>, EvalError> {
    let mut asked = Vec::new();
    for distance in &options.distances {
        let trials = trials(options, filler, *distance)?;
        let encoded = trials.iter().map(|trial| Ok((trial.gold, trial.encode(tokenizer, policy)?)));
        asked.push((*distance, encoded.collect::<Result<Vec<_>, EvalError>>()?));
    }
    let whole =
        |asked: &Asked| asked.context.len() + asked.answers.iter().map(Vec::len).max().unwrap_or_default();
    let longest = asked.iter().flat_map(|(_, trials)| trials).map(|(_, asked)| whole(asked)).max();
    let mut judge = Judge::new(model, &fitted(policy, longest.unwrap_or_default()), session, &[]).await?;

    let (mut reports, mut done, steps) = (Vec::new(), 0, options.distances.len() * options.trials);
    for (distance, trials) in &asked {
        let mut results = Vec::new();
        for (gold, asked) in trials {
            progress(done, steps);
            done += 1;
            let judged = judge.judge(&asked.context, &asked.answers).await?;
            let right = judged.verdicts[*gold];
            let mut others = judged.verdicts.iter().enumerate().filter(|(i, _)| i != gold);
            let likeliest = others.all(|(_, other)| other.logprob < right.logprob);
            results.push((likeliest, right.greedy, asked.tokens_back, judged));
        }
        let (acc, acc_stderr) = mean_and_error(results.iter().map(|result| f64::from(result.0)));
        let (exact, exact_stderr) = mean_and_error(results.iter().map(|result| f64::from(result.1)));
        let kv = results.iter().map(|(.., judged)| judged.kv);
        reports.push(RecallReport {
            distance: *distance,
            trials: results.len(),
            acc,
            acc_stderr,
            exact,
            exact_stderr,
            chance: 1.0 / (options.distractors as f64 + 1.0),
            tokens_back: mean_and_error(results.iter().map(|result| result.2 as f64)).0,
            cache_reduction: mean_and_error(
                kv.clone().map(|kv| 1.0 - f64::from(kv.live) / f64::from(kv.seen.max(1))),
            )
            .0,
            live: mean_and_error(kv.map(|kv| f64::from(kv.live))).0,
            peak_live: results.iter().map(|(.., judged)| judged.peak_live).max().unwrap_or_default(),
        });
    }
    progress(done, steps);
    Ok(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(seed: u64, distance: usize) -> Vec<Trial> {
        let options = RecallOptions { seed, trials: 6, ..RecallOptions::default() };
        trials(&options, &facts::filler_of(None), distance).unwrap()
    }

    #[test]
    fn trials_follow_the_seed_and_differ_by_the_distance_in_filling_only() {
        assert_eq!(made(1, 9), made(1, 9));
        assert_ne!(made(1, 9), made(2, 9));
        for (near, far) in made(1, 1).iter().zip(made(1, 9)) {
            assert_eq!((&near.cue, &near.answers, near.gold), (&far.cue, &far.answers, far.gold));
            assert_eq!(near.sentences, far.sentences[..4], "three before the fact, and the fact");
            assert_eq!(far.sentences.len(), 3 + 1 + 8);
        }
    }

    #[test]
    fn only_the_fact_holds_the_answer() {
        for trial in made(3, 20) {
            let answer = &trial.answers[trial.gold];
            let holding: Vec<usize> = (0..trial.sentences.len())
                .filter(|i| trial.sentences[*i].contains(answer.as_str()))
                .collect();
            assert_eq!(holding, [trial.fact], "{answer}");
            assert_eq!(trial.sentences[trial.fact], format!("{} {answer}.", trial.cue));
            let text = trial.sentences.join(" ");
            let wrong = trial.answers.iter().filter(|other| *other != answer);
            assert!(wrong.into_iter().all(|other| !text.contains(other.as_str())), "{text}");
        }
        let golds: std::collections::BTreeSet<usize> = made(3, 1).iter().map(|trial| trial.gold).collect();
        assert!(golds.len() > 1, "the right answer has no place of its own");
    }

    #[test]
    fn settings_of_which_nothing_can_be_made_are_refused() {
        let filler = facts::filler_of(None);
        let refuse =
            |options: RecallOptions, distance| trials(&options, &filler, distance).unwrap_err().to_string();
        let base = RecallOptions::default;
        assert!(refuse(base(), 0).contains("distance is 0"));
        assert!(refuse(base(), 1199).contains("1200 sentences to fill in, at least 1201"));
        assert!(refuse(RecallOptions { distractors: 24, ..base() }, 1).contains("distractors is 24"));
        assert!(refuse(RecallOptions { trials: 0, ..base() }, 1).contains("trials is 0"));
    }
}
