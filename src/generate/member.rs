//! One text of a batch: where it stands, what it has ready, and how it ends.

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::batch::TextId;
use super::rows::{Brought, Rows};
use super::text::Wording;
use super::{GenerateError, GenerateOptions, Generation, Piece, Steps, StopReason, Token, step};
use crate::session::Session;

/// A text of the batch.
#[derive(Debug)]
pub(super) struct Text<S> {
    pub(super) id: TextId,
    pub(super) session: S,
    pub(super) options: GenerateOptions,
    /// Makes text of its tokens, if that was asked for.
    pub(super) wording: Option<Wording>,
    /// Tokens given out.
    pub(super) given: u32,
    /// Tokens that were read since it joined the loop.
    pub(super) read: u32,
    /// Its steps that are under way.
    pub(super) ahead: u32,
    /// Read and not given out yet.
    pub(super) ready: VecDeque<Token>,
    pub(super) stage: Stage,
}

/// Where a text stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// The loop consumes a token first, so a text that has none pending draws one alone.
    First(Option<Box<Generation>>),
    /// It is in the loop, or about to join it.
    Running,
    /// It was called off: what is under way is still given out.
    Cancelled,
    /// How it ends after the tokens that are ready.
    Ending(Result<StopReason, GenerateError>),
    /// How it has ended.
    Over(Result<StopReason, GenerateError>),
}

impl<S: BorrowMut<Session>> Text<S> {
    pub(super) fn session(&self) -> &Session {
        self.session.borrow()
    }

    /// Tokens that it may still be given.
    pub(super) fn left(&self) -> u32 {
        self.options.max_tokens.saturating_sub(self.given)
    }

    /// Steps that the device may be ahead of what was given out.
    pub(super) fn beyond(&self) -> u32 {
        self.ahead + self.ready.len() as u32
    }

    /// Whether nothing of it is left to come but its end.
    pub(super) fn is_over(&self) -> bool {
        self.ready.is_empty()
            && match self.stage {
                Stage::Ending(_) | Stage::Over(_) => true,
                Stage::Cancelled => self.ahead == 0,
                Stage::First(_) | Stage::Running => false,
            }
    }

    /// It ends at the last token given out, unless it has ended there by itself.
    pub(super) fn end(&mut self, end: Result<StopReason, GenerateError>) {
        if !matches!(self.stage, Stage::Over(_)) {
            self.ready.clear();
            self.stage = Stage::Over(end);
        }
    }

    /// It ends because no position can be held any more.
    pub(super) fn end_of_memory(&mut self) {
        let reason = self.session().limit_reason();
        self.end(Ok(reason));
    }

    /// What the device has drawn beyond the last token given out is lost; the text joins the loop again.
    pub(super) fn forget_ahead(&mut self) {
        self.ahead = 0;
        if self.is_over() {
            return;
        }
        if let Stage::Cancelled = self.stage {
            self.end(Ok(StopReason::Cancelled));
            return;
        }
        self.ready.clear();
        self.stage = if self.session().pending.is_some() { Stage::Running } else { Stage::First(None) };
    }

    /// The first token, if it has none to consume and it has come.
    pub(super) fn poll_first(&mut self, cx: &mut Context<'_>) -> Result<Option<Piece>, GenerateError> {
        let Stage::First(generation) = &mut self.stage else { return Ok(None) };
        let session: &mut Session = self.session.borrow_mut();
        if generation.is_none() {
            let one = GenerateOptions { max_tokens: 1, steps: Steps::Auto, ..self.options.clone() };
            *generation = Some(Box::new(session.start(one)?));
        }
        let Some(generation) = generation else { unreachable!("it was started") };
        let Poll::Ready(token) = generation.poll_token(session, cx) else { return Ok(None) };
        // Of a token that ends the text the reason is known at once; otherwise the one token was all that was asked for.
        let reason = generation.stop_reason();
        match token {
            Ok(Some(token)) => {
                self.stage = reason.map_or(Stage::Running, |reason| Stage::Over(Ok(reason)));
                return Ok(Some(self.given_out(token)));
            }
            Ok(None) => self.stage = Stage::Ending(Ok(reason.unwrap_or_else(|| session.limit_reason()))),
            Err(error) if error.is_device() => return Err(error),
            Err(error) => self.stage = Stage::Ending(Err(error)),
        }
        Ok(None)
    }

    /// Gets a row, if it goes on and has none.
    pub(super) fn join(&mut self, rows: &mut Rows) -> Result<(), GenerateError> {
        if !matches!(self.stage, Stage::Running) || rows.ids().contains(&self.id) {
            return Ok(());
        }
        let session: &mut Session = self.session.borrow_mut();
        session.next_turn();
        session.rewind()?;
        let budget = self.options.max_tokens.saturating_sub(self.given);
        if budget == 0 {
            self.stage = Stage::Ending(Ok(StopReason::MaxTokens));
        } else if session.remaining() == 0 {
            self.stage = Stage::Ending(Ok(session.limit_reason()));
        } else if session.check(session.pending.as_slice()).is_err() {
            // A pending token that would make a segment too long can't be consumed, so nothing can follow it.
            self.stage = Stage::Ending(Ok(StopReason::SegmentLimit));
        } else {
            self.read = 0;
            rows.join(self.id, session, &self.options, budget)?;
        }
        Ok(())
    }

    /// Takes in what a submit has brought to its row: how many tokens.
    pub(super) fn collect(&mut self, brought: &Brought, row: usize) -> Result<u32, GenerateError> {
        let Brought { steps, outbox, .. } = brought;
        self.ahead = self.ahead.saturating_sub(*steps);
        if let Stage::First(_) | Stage::Ending(_) | Stage::Over(_) = self.stage {
            return Ok(0);
        }
        let (before, emitted) = (self.read, outbox.emitted(row, self.read, *steps)?);
        let top = self.options.sampler.logprobs;
        self.ready.extend((before..emitted).map(|number| outbox.token(row, number, top)));
        self.read = emitted;
        let stopped = outbox.state(row).stopped;
        if stopped != 0 {
            let length = self.session().length() + self.ready.len() as u32;
            self.stage = Stage::Ending(step::why(self.session(), stopped, length));
        }
        Ok(emitted - before)
    }

    /// Its next token; `None` if it has ended before that.
    pub(super) fn give_out(&mut self) -> Option<Piece> {
        let token = self.ready.pop_front()?;
        let session: &mut Session = self.session.borrow_mut();
        if let Err(error) = session.accept(token.id) {
            self.end(Err(error.into()));
            return None;
        }
        if let Some(reason) = session.ending(&self.options, token.id) {
            self.end(Ok(reason));
        }
        Some(self.given_out(token))
    }

    /// Counts a token that the session has taken, and makes text of it.
    fn given_out(&mut self, token: Token) -> Piece {
        self.given += 1;
        let mut text = String::new();
        if let Some(wording) = &mut self.wording {
            let stopped;
            (text, stopped) = wording.push(token.id);
            if stopped {
                // Nothing that stands behind the stop is shown.
                self.wording = None;
                self.end(Ok(StopReason::Stop));
            }
        }
        Piece { token: Some(token), text }
    }
}
