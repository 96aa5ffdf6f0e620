//! How likely each of several continuations of one context is.
//!
//! The context is read once; each continuation goes on from a copy of what is remembered of it. An opening that many contexts share,
//! such as demonstrations, is read once for all of them.

use std::sync::Arc;

use super::EvalError;
use super::text::origins;
use crate::kv::Policy;
use crate::model::Model;
use crate::score::{Score, extend};
use crate::session::{KvReport, Session, SessionError, SessionOptions};

/// Judges texts under one policy.
#[derive(Debug)]
pub struct Judge {
    /// Remembers the opening; `None` if there is none.
    opening: Option<Session>,
    /// Remembers a context.
    context: Session,
    /// Reads one continuation.
    branch: Session,
}

/// One continuation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Its log-likelihood after the context, in nats; that of anchors that the policy puts in is not counted.
    pub logprob: f64,
    /// Whether every token of it was the likeliest in its place.
    pub greedy: bool,
}

/// The result of [`Judge::judge`].
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// One for each continuation.
    pub verdicts: Vec<Verdict>,
    /// What the cache holds of opening and context.
    pub kv: KvReport,
    /// The most live entries after any token, of a continuation too.
    pub peak_live: u32,
}

impl Judge {
    /// Reads `opening`, which may be empty.
    ///
    /// # Errors
    /// As [`Session::new`] and [`Session::append`].
    pub async fn new(
        model: &Arc<Model>,
        policy: &Policy,
        options: SessionOptions,
        opening: &[u32],
    ) -> Result<Self, EvalError> {
        let session = async || Session::new(model, policy, options).await;
        let (mut first, context, branch) = (None, session().await?, session().await?);
        if !opening.is_empty() {
            let mut session = session().await?;
            session.append(&session.close_segments(opening)).await?;
            first = Some(session);
        }
        Ok(Self { opening: first, context, branch })
    }

    /// How likely each of `continuations` is after the opening and `context`.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] for an empty context; as [`Session::append`].
    pub async fn judge(&mut self, context: &[u32], continuations: &[Vec<u32>]) -> Result<Judged, EvalError> {
        match &self.opening {
            Some(opening) => self.context.copy_from(opening)?,
            None => self.context.reset()?,
        }
        let closed = self.context.close_segments(context);
        // The last token is read with each continuation, whose first token it predicts.
        let Some((last, head)) = closed.split_last() else { return Err(SessionError::EmptyPrompt.into()) };
        self.context.append(head).await?;
        let mut ring = self.context.ring.clone();
        ring.step(*last)?;
        let kv = KvReport::new(&ring, self.context.entry_bytes(), self.context.kv_format(), self.kv_bytes());
        let (mut verdicts, mut peak_live) = (Vec::new(), kv.peak_live);
        for continuation in continuations {
            self.branch.copy_from(&self.context)?;
            verdicts.push(read(&mut self.branch, *last, continuation).await?);
            peak_live = peak_live.max(self.branch.kv().peak_live);
        }
        Ok(Judged { verdicts, kv, peak_live })
    }

    /// Bytes of the slots of one session's cache.
    pub fn kv_bytes(&self) -> u64 {
        self.context.kv().bytes_allocated
    }
}

/// Reads `continuation` after `last`, which the session has not read yet.
async fn read(session: &mut Session, last: u32, continuation: &[u32]) -> Result<Verdict, EvalError> {
    let plain: Vec<u32> = [last].into_iter().chain(continuation.iter().copied()).collect();
    let closed = session.close_segments(&plain);
    let targets = &closed[1..];
    let mut score = Score::default();
    extend(session, &closed[..targets.len()], targets, &mut score).await?;
    let mut verdict = Verdict { logprob: 0.0, greedy: true };
    let text = origins(&plain, &closed);
    for (i, _) in text.iter().skip(1).enumerate().filter(|(_, origin)| origin.is_some()) {
        verdict.logprob -= f64::from(score.nll[i]);
        verdict.greedy &= score.top1[i] == targets[i];
    }
    Ok(verdict)
}

/// The likelihood of one continuation, everything before it read from the first token on and nothing kept: how one would do it
/// without a cache.
///
/// # Errors
/// As [`Judge::judge`].
pub(super) async fn judge_anew(
    session: &mut Session,
    before: &[u32],
    continuation: &[u32],
) -> Result<Verdict, EvalError> {
    session.reset()?;
    let Some((last, head)) = before.split_last() else { return Err(SessionError::EmptyPrompt.into()) };
    session.append(head).await?;
    read(session, *last, continuation).await
}
