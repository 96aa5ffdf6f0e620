//! How likely a text is, token by token, under a policy and along a path.
//!
//! Three paths compute the same function: `masked` runs a brute-force kernel of the visibility rule over the whole text,
//! `chunk:N` feeds the ring N tokens at a time, `ring` feeds it one by one. That they agree is the engine's central claim.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use crate::gpu::{Recorder, Submission};
use crate::kernels::nll::{self, Nll};
use crate::kernels::{Inputs, KvFormat, argmax};
use crate::kv::{Policy, Row, Tags, mask};
use crate::model::llama::{self, Attend};
use crate::model::{Model, SessionShape};
use crate::session::{KvReport, Session, SessionError, SessionOptions, alone, floats, words};

/// How a text goes through the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// All tokens at once under the brute-force kernel, without a cache.
    Masked,
    /// One token at a time through the GPU's ring step.
    Ring,
    /// This many tokens at a time through the host's ring.
    Chunk(u32),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Masked => f.write_str("masked"),
            Self::Ring => f.write_str("ring"),
            Self::Chunk(n) => write!(f, "chunk:{n}"),
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let chunk = || text.strip_prefix("chunk:").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match text {
            "masked" => Ok(Self::Masked),
            "ring" => Ok(Self::Ring),
            _ => chunk()
                .map(Self::Chunk)
                .ok_or_else(|| format!("path {text:?} is none of masked, ring, chunk:N")),
        }
    }
}

/// The result of [`score`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// `nll[i]`: negative log-likelihood of `ids[i + 1]` given `ids[..=i]`, in nats (n - 1).
    pub nll: Vec<f32>,
    /// `top1[i]`: the likeliest token after `ids[..=i]` (n).
    pub top1: Vec<u32>,
    /// What the cache held at the end.
    pub kv: KvReport,
    /// Names of the kernels that ran.
    pub kernels: BTreeSet<&'static str>,
}

impl Score {
    /// Mean of `nll`. Not a number (`null` in JSON) for a single token, which predicts nothing: 0 would be a perfect model's.
    pub fn mean_nll(&self) -> f64 {
        let sum: f64 = self.nll.iter().map(|nll| f64::from(*nll)).sum();
        sum / self.nll.len() as f64
    }

    /// `exp(mean_nll)`.
    pub fn perplexity(&self) -> f64 {
        self.mean_nll().exp()
    }
}

/// The document that `killick score --json` prints; `docs/cli.md` describes it.
#[derive(Debug, Serialize)]
pub struct ScoreReport<'a> {
    /// Name of the file or folder the model came from.
    pub model: &'a str,
    /// The policy, resolved.
    pub policy: &'a Policy,
    /// The path taken.
    pub path: String,
    /// The text (n).
    pub ids: &'a [u32],
    /// [`Score::nll`].
    pub nll: &'a [f32],
    /// [`Score::mean_nll`].
    pub mean_nll: f64,
    /// [`Score::perplexity`].
    pub perplexity: f64,
    /// [`Score::top1`].
    pub top1: &'a [u32],
    /// [`Score::kv`].
    pub kv: KvReport,
    /// [`Score::kernels`].
    pub kernels: &'a BTreeSet<&'static str>,
}

impl Score {
    /// The score of `ids` as a document.
    pub fn report<'a>(
        &'a self,
        model: &'a Model,
        policy: &'a Policy,
        path: Path,
        ids: &'a [u32],
    ) -> ScoreReport<'a> {
        ScoreReport {
            model: model.label(),
            policy,
            path: path.to_string(),
            ids,
            nll: &self.nll,
            mean_nll: self.mean_nll(),
            perplexity: self.perplexity(),
            top1: &self.top1,
            kv: self.kv,
            kernels: &self.kernels,
        }
    }
}

/// Logit blocks recorded into one submit.
const BLOCKS_PER_SUBMIT: usize = 16;

/// Scores `ids` under `policy` along `path`, with 32-bit keys and values.
///
/// # Errors
/// As [`score_with`].
pub async fn score(
    model: &Arc<Model>,
    policy: &Policy,
    ids: &[u32],
    path: Path,
) -> Result<Score, SessionError> {
    score_with(model, policy, KvFormat::F32, ids, path).await
}

/// Scores `ids` under `policy` along `path`, with keys and values of a format.
///
/// # Errors
/// No token, a token outside the vocabulary, more tokens than `full` was planned for, a plan that does not fit, the device; another format
/// than f32 along [`Path::Masked`], which keeps no cache.
pub async fn score_with(
    model: &Arc<Model>,
    policy: &Policy,
    kv: KvFormat,
    ids: &[u32],
    path: Path,
) -> Result<Score, SessionError> {
    if ids.is_empty() {
        return Err(SessionError::EmptyPrompt);
    }
    let n = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    let chunk = match path {
        Path::Masked => n,
        Path::Ring => 1,
        Path::Chunk(rows) => rows.clamp(1, n),
    };
    let in_flight = SessionOptions::default().in_flight;
    let shape = SessionShape { chunk, in_flight, masked: path == Path::Masked, texts: 1, kv };
    let mut session = Session::with_shape(model, policy, shape).await?;
    session.check(ids)?;

    let mut score = Score::default();
    let targets = following(ids);
    match path {
        Path::Chunk(_) => extend(&mut session, ids, &targets, &mut score).await?,
        Path::Masked => {
            let pass = |session: &mut Session, rec: &mut Recorder| record_masked(session, rec, ids);
            score_pass(&mut session, &targets, pass, &mut score).await?;
        }
        Path::Ring => {
            for (id, target) in ids.iter().zip(targets.chunks(1)) {
                let pass = |session: &mut Session, rec: &mut Recorder| session.record_step(rec, *id);
                score_pass(&mut session, target, pass, &mut score).await?;
            }
        }
    }
    score.nll.truncate(ids.len() - 1);
    score.kv = match path {
        Path::Masked => KvReport::new(&session.ring, session.entry_bytes(), kv, 0),
        Path::Ring | Path::Chunk(_) => session.kv(),
    };
    Ok(score)
}

/// What each token of a text is followed by; 0 after the last, where nothing is.
pub(crate) fn following(ids: &[u32]) -> Vec<u32> {
    ids.iter().skip(1).copied().chain([0]).take(ids.len()).collect()
}

/// Feeds `ids` to the session's ring, a chunk at a time, and adds to `score` how likely `targets[i]` was after `ids[i]`, and what was
/// likeliest there.
pub(crate) async fn extend(
    session: &mut Session,
    ids: &[u32],
    targets: &[u32],
    score: &mut Score,
) -> Result<(), SessionError> {
    session.check(ids)?;
    let rows = session.chunk as usize;
    for (piece, targets) in ids.chunks(rows).zip(targets.chunks(rows)) {
        let pass = |session: &mut Session, rec: &mut Recorder| {
            let chunk = session.begin_chunk(piece)?;
            session.record_chunk(rec, &chunk)
        };
        score_pass(session, targets, pass, score).await?;
    }
    Ok(())
}

/// Runs the pass that `pass` records, and adds what it says of `targets` to `score`.
async fn score_pass(
    session: &mut Session,
    targets: &[u32],
    pass: impl FnOnce(&mut Session, &mut Recorder) -> Result<(), SessionError>,
    score: &mut Score,
) -> Result<(), SessionError> {
    session.readback.settle().await?;
    let submission = {
        let pool = session.pool().clone();
        let _alone = alone(&pool.scratch);
        let mut rec = Recorder::new(session.model.gpu.capabilities());
        pass(session, &mut rec)?;
        let recording = rec.finish();
        score.kernels.extend(recording.kernel_names());
        session.model.gpu.run(recording)?;
        submit_scores(session, targets, score)?
    };
    match submission {
        Some(submission) => read_scores(session, targets.len() as u32, submission, score).await,
        None => Ok(()),
    }
}

/// The whole text in one pass. The ring only counts along, so that the report is that of the policy.
fn record_masked(session: &mut Session, rec: &mut Recorder, ids: &[u32]) -> Result<(), SessionError> {
    let policy = session.policy.clone();
    let tags = Tags::of(&policy, ids);
    let rows: Vec<Row> = (0..ids.len() as u32)
        .map(|pos| Row { pos, pinned_query_pos: mask::pinned_query_position(&policy, pos), ..Row::default() })
        .collect();
    for id in ids {
        session.ring.step(*id)?;
    }
    let (model, memory) = (&session.model, session.memory());
    model.gpu.upload(&memory.scratch.tokens, 0, bytemuck::cast_slice(ids))?;
    model.gpu.upload(&memory.scratch.rows, 0, bytemuck::cast_slice(&rows))?;
    model.gpu.upload(&memory.scratch.tags, 0, bytemuck::cast_slice(tags.as_slice()))?;
    llama::forward(rec, model, memory, ids.len() as u32, Attend::Masked(&policy))?;
    Ok(llama::keep(rec, model, memory.scratch, ids.len() as u32)?)
}

/// Log-likelihoods and likeliest tokens of the pass that was just submitted, a few rows of logits at a time.
fn submit_scores(
    session: &Session,
    targets: &[u32],
    score: &mut Score,
) -> Result<Option<Submission>, SessionError> {
    let (model, s) = (&session.model, session.memory().scratch);
    let (n, vocab) = (targets.len() as u32, model.config.vocab_size);
    model.gpu.upload(&s.targets, 0, bytemuck::cast_slice(targets))?;
    let mut last = None;
    let firsts: Vec<u32> = (0..n).step_by(session.logit_rows() as usize).collect();
    for some in firsts.chunks(BLOCKS_PER_SUBMIT) {
        let mut rec = Recorder::new(model.gpu.capabilities());
        for first in some {
            let rows = session.logit_rows().min(n - first);
            llama::logits(&mut rec, model, Inputs::rows(&s.h, rows).from(*first), &s.logits)?;
            let io = Nll { logits: &s.logits, targets: &s.targets, out: &s.nll };
            nll::record(&mut rec, io, rows, vocab, *first)?;
            argmax::record(&mut rec, &s.logits, &s.top, rows, vocab, *first)?;
        }
        if some.last() == firsts.last() {
            let bytes = u64::from(n) * 4;
            rec.read(&s.nll, 0, session.readback.buffer(), 0, bytes)?;
            rec.read(&s.top, 0, session.readback.buffer(), bytes, bytes)?;
        }
        let recording = rec.finish();
        score.kernels.extend(recording.kernel_names());
        last = Some(model.gpu.run(recording)?);
    }
    Ok(last)
}

/// Adds to `score` what was submitted of `n` tokens.
async fn read_scores(
    session: &Session,
    n: u32,
    submission: Submission,
    score: &mut Score,
) -> Result<(), SessionError> {
    let bytes = session.readback.take(&session.model.gpu, u64::from(n) * 8, submission).await?;
    let (nll, top) = bytes.split_at(bytes.len() / 2);
    let nll = floats(nll);
    if let Some(row) = nll.iter().position(|nll| !nll.is_finite()) {
        return Err(session.not_finite(session.ring.state().pos - n + row as u32));
    }
    score.nll.extend(nll);
    score.top1.extend(words(top));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Score;

    #[test]
    fn the_mean_of_nothing_is_no_number() {
        let of = |nll: &[f32]| Score { nll: nll.to_vec(), ..Score::default() };
        assert_eq!((of(&[1.0, 2.0]).mean_nll(), of(&[0.0]).perplexity()), (1.5, 1.0));
        assert!(of(&[]).mean_nll().is_nan() && of(&[]).perplexity().is_nan());
        // Which is how JSON shows it.
        assert_eq!(serde_json::json!(of(&[]).mean_nll()), serde_json::Value::Null);
    }
}
