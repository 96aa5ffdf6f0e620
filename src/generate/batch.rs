//! Several texts of one pool that go on together, as a value of its own. Each has its own settings; they come and go while others run.

use std::borrow::BorrowMut;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::member::{Stage, Text};
use super::rows::{Brought, Rows};
use super::step::Chain;
use super::text::Wording;
use super::{GenerateError, GenerateOptions, Piece, Steps, StopReason};
use crate::session::{Pool, Session, SessionError, Together};
use crate::tokenizer::{StopStrings, Tokenizer};

/// Texts of one pool that go on together: each step reads the weights once for all of them.
///
/// A session whose prompt was read is added with options of its own: sampler, seed, stops, budget. Its tokens come out as
/// [`BatchEvent`]s among those of the others, and at last the session itself. Texts may be added and taken out at any time; nobody waits
/// for it. Each gets the tokens that it would get alone, up to rounding: several rows are summed by another kernel than one, so that a
/// near-tie of a real model may be decided otherwise.
///
/// It owns its sessions, or holds them as `Batch<&mut Session>`. There is one batch in a pool at a time. Beside it prompts of other sessions
/// of the pool can be read and lone generations go on, which take turns with it on the device. Dropped, or after an error, it leaves every
/// text at the last token that was given out.
///
/// ```no_run
/// use killick::tokenizer::StopStrings;
/// use killick::{
///     Batch, BatchEvent, GenerateOptions, Loaded, Pool, PolicyOptions, SamplerOptions, SessionOptions, Steps,
/// };
///
/// # async fn serve(loaded: Loaded) -> Result<(), Box<dyn std::error::Error>> {
/// let tokenizer = loaded.tokenizer()?;
/// let policy = loaded.policy(&PolicyOptions::default())?.policy;
/// // Memory for eight texts, made once.
/// let pool = Pool::new(&loaded.model, &policy, SessionOptions::default(), 8).await?;
/// let mut batch = Batch::new(&pool, Steps::Auto)?;
/// for (seed, question) in (0..).zip(["What is a killick?", "Why do ships drift?"]) {
///     let mut session = pool.session().await?;
///     session.append(&tokenizer.encode_for(question, true, &policy)?).await?;
///     let sampler = SamplerOptions { temperature: 0.8, seed, ..SamplerOptions::default() };
///     let options = GenerateOptions { sampler, ..GenerateOptions::default() };
///     batch.add_text(session, &tokenizer, options, StopStrings::new(vec!["\n\n".to_owned()])?)?;
/// }
/// while let Some(event) = batch.next_event().await? {
///     match event {
///         BatchEvent::Piece { id, piece } => println!("text {id}: {:?}", piece.text),
///         // The place of the session in the pool is free again when it is dropped; another text may be added now.
///         BatchEvent::Ended { id, session, end } => println!("text {id}: {end:?} after {}", session.length()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Batch<S = Session> {
    pool: Arc<Pool>,
    _ours: Together,
    rows: Rows,
    texts: Vec<Text<S>>,
    /// Number of the next text.
    next: u64,
    /// Whose turn it is to give out a token: as they were drawn, step by step and row by row.
    turns: VecDeque<TextId>,
    /// What went wrong when the device was given more to do, beside a token that was given out.
    failing: Option<GenerateError>,
}

/// A text of a [`Batch`]; they count from 0, and no two texts of a batch have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextId(u64);

impl fmt::Display for TextId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a [`Batch`] has to say of one of its texts.
#[derive(Debug)]
pub enum BatchEvent<S = Session> {
    /// A token, with the text that it completes where the text was added by [`Batch::add_text`]; or text that was held back.
    Piece {
        /// Which text.
        id: TextId,
        /// What comes next in it.
        piece: Piece,
    },
    /// The text has ended, and is no longer in the batch.
    Ended {
        /// Which text.
        id: TextId,
        /// Its session.
        session: S,
        /// Why it ended, or what went wrong with this text alone.
        end: Result<StopReason, GenerateError>,
    },
}

/// A session that a [`Batch`] does not take, and why.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused<S = Session> {
    /// The session, as it was.
    pub session: S,
    /// Why it was refused.
    #[source]
    pub error: GenerateError,
}

impl<S: BorrowMut<Session>> Batch<S> {
    /// A batch without a text, in which `steps` are made at a time; they are made on the device, whatever that says.
    ///
    /// # Errors
    /// [`GenerateError::PoolBusy`] while there is another batch in the pool.
    pub fn new(pool: &Arc<Pool>, steps: Steps) -> Result<Self, GenerateError> {
        let ours = pool.together().ok_or(GenerateError::PoolBusy)?;
        Ok(Self {
            pool: pool.clone(),
            _ours: ours,
            rows: Rows::new(pool, steps),
            texts: Vec::new(),
            next: 0,
            turns: VecDeque::new(),
            failing: None,
        })
    }

    /// Goes on with the text of `session`, as `options` say; how many steps are made at a time is for the whole batch to say.
    ///
    /// # Errors
    /// [`GenerateError::NotTogether`] if it lies in another pool, [`SessionError::EmptyPrompt`] without a text, a setting out of range. The
    /// session comes back with the error.
    pub fn add(&mut self, session: S, options: GenerateOptions) -> Result<TextId, Box<Refused<S>>> {
        self.insert(session, options, |_| None)
    }

    /// [`Batch::add`], with the text of its tokens. `stops` end it, as in [`Session::start_text`].
    ///
    /// # Errors
    /// As there.
    pub fn add_text(
        &mut self,
        session: S,
        tokenizer: &Tokenizer,
        mut options: GenerateOptions,
        stops: StopStrings,
    ) -> Result<TextId, Box<Refused<S>>> {
        options.add_special(tokenizer, &stops);
        self.insert(session, options, |session| Some(Wording::new(session, tokenizer, stops)))
    }

    /// What [`Batch::add`] would say.
    pub(super) fn check(&self, session: &Session, options: &GenerateOptions) -> Result<(), GenerateError> {
        if !Arc::ptr_eq(session.pool(), &self.pool) {
            return Err(GenerateError::NotTogether);
        }
        if session.pending.is_none() && !session.has_last {
            return Err(SessionError::EmptyPrompt.into());
        }
        options.check_together()?;
        session.sampler(options).map(drop)
    }

    fn insert(
        &mut self,
        mut session: S,
        options: GenerateOptions,
        wording: impl FnOnce(&Session) -> Option<Wording>,
    ) -> Result<TextId, Box<Refused<S>>> {
        if let Err(error) = self.check(session.borrow(), &options) {
            return Err(Box::new(Refused { session, error }));
        }
        let own: &mut Session = session.borrow_mut();
        own.next_turn();
        let stage = match own.pending {
            _ if options.max_tokens == 0 => Stage::Ending(Ok(StopReason::MaxTokens)),
            Some(_) => Stage::Running,
            None => Stage::First(None),
        };
        let (id, wording) = (TextId(self.next), wording(own));
        if self.pool.control.is_none() {
            // The loop is the session's own, and may have been used alone since it was here.
            self.rows.clear();
        }
        self.next += 1;
        let ready = VecDeque::new();
        self.texts.push(Text { id, session, options, wording, given: 0, read: 0, ahead: 0, ready, stage });
        Ok(id)
    }

    /// Takes a text out. Its session stands at the last token that was given out; `None` if it is not here, or no more.
    pub fn remove(&mut self, id: TextId) -> Option<S> {
        let index = self.texts.iter().position(|text| text.id == id)?;
        Some(self.texts.remove(index).session)
    }

    /// Submits nothing more for a text. What is under way is still given out, then it ends.
    pub fn cancel(&mut self, id: TextId) {
        let Some(text) = self.text_mut(id) else { return };
        match text.stage {
            Stage::First(_) => text.end(Ok(StopReason::Cancelled)),
            Stage::Running => text.stage = Stage::Cancelled,
            Stage::Cancelled | Stage::Ending(_) | Stage::Over(_) => {}
        }
    }

    /// Ends a text at the last token given out, for a reason that only the caller can see. What the device has drawn beyond it is forgotten.
    pub fn stop(&mut self, id: TextId) {
        if let Some(text) = self.text_mut(id) {
            text.end(Ok(StopReason::Stop));
        }
    }

    /// Texts that have not ended.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether every text has ended.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The texts that have not ended, in the order in which they were added.
    pub fn ids(&self) -> impl Iterator<Item = TextId> + '_ {
        self.texts.iter().map(|text| text.id)
    }

    /// The session of a text, for its statistics.
    pub fn session(&self, id: TextId) -> Option<&Session> {
        self.text(id).map(Text::session)
    }

    /// All sessions, each at the last token that was given out.
    pub fn into_sessions(self) -> impl Iterator<Item = (TextId, S)> {
        self.texts.into_iter().map(|text| (text.id, text.session))
    }

    /// What happens next; `None` while there is no text.
    ///
    /// # Errors
    /// The device. What is wrong with one text alone is told by [`BatchEvent::Ended`]. To ask again is to try again, from the last tokens
    /// that were given out.
    pub async fn next_event(&mut self) -> Result<Option<BatchEvent<S>>, GenerateError> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// [`Batch::next_event`], for a future written by hand. It does not wait for what the device has to give; a submit may be part of it.
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<BatchEvent<S>>, GenerateError>> {
        let event = ready!(self.poll_unguarded(cx));
        if event.is_err() {
            self.rows.clear();
            self.turns.clear();
            self.texts.iter_mut().for_each(Text::forget_ahead);
        }
        Poll::Ready(event)
    }

    fn poll_unguarded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<BatchEvent<S>>, GenerateError>> {
        loop {
            if let Some(error) = self.failing.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(event) = self.end_one() {
                return Poll::Ready(Ok(Some(event)));
            }
            if let Poll::Ready(event) = self.poll_firsts(cx)? {
                return Poll::Ready(Ok(Some(event)));
            }
            if let Some(id) = self.turns.pop_front() {
                let given = self.text_mut(id).and_then(Text::give_out);
                if self.turns.is_empty() {
                    // The token is out, whatever comes of this.
                    self.failing = self.go_on().err();
                }
                match given {
                    Some(piece) => return Poll::Ready(Ok(Some(BatchEvent::Piece { id, piece }))),
                    None => continue,
                }
            }
            if self.texts.is_empty() {
                self.rows.clear();
                return Poll::Ready(Ok(None));
            }
            self.arrange()?;
            if !self.rows.ids().is_empty() {
                ready!(self.rows.poll_settled(cx))?;
                self.fill()?;
            }
            if !self.rows.is_busy() {
                // Nothing can be submitted, so the end must have come.
                let waits = self.texts.iter_mut().filter(|text| matches!(text.stage, Stage::Running));
                waits.for_each(Text::end_of_memory);
            }
            if self.texts.iter().any(Text::is_over) {
                continue;
            }
            let brought = ready!(self.rows.poll_brought(cx))?;
            self.collect(&brought)?;
        }
    }

    fn text(&self, id: TextId) -> Option<&Text<S>> {
        self.texts.iter().find(|text| text.id == id)
    }

    fn text_mut(&mut self, id: TextId) -> Option<&mut Text<S>> {
        self.texts.iter_mut().find(|text| text.id == id)
    }

    /// The end of a text that has nothing more to give out; before it, the text that was held back.
    fn end_one(&mut self) -> Option<BatchEvent<S>> {
        let index = self.texts.iter().position(Text::is_over)?;
        let text = self.texts.get_mut(index)?;
        let id = text.id;
        let held = text.wording.take().map(|mut wording| wording.finish());
        if let Some(text) = held.filter(|held| !held.is_empty()) {
            return Some(BatchEvent::Piece { id, piece: Piece { token: None, text } });
        }
        let Text { session, stage, .. } = self.texts.remove(index);
        let end = match stage {
            Stage::Ending(end) | Stage::Over(end) => end,
            Stage::First(_) | Stage::Running | Stage::Cancelled => Ok(StopReason::Cancelled),
        };
        Some(BatchEvent::Ended { id, session, end })
    }

    /// The first tokens of texts that have none to consume.
    fn poll_firsts(&mut self, cx: &mut Context<'_>) -> Result<Poll<BatchEvent<S>>, GenerateError> {
        for text in &mut self.texts {
            if let Some(piece) = text.poll_first(cx)? {
                return Ok(Poll::Ready(BatchEvent::Piece { id: text.id, piece }));
            }
        }
        Ok(Poll::Pending)
    }

    /// Gives the device more to do, where it is known to be ready.
    fn go_on(&mut self) -> Result<(), GenerateError> {
        self.arrange()?;
        if self.rows.is_busy() { self.fill() } else { Ok(()) }
    }

    /// Rows for the texts that go on, and for no other.
    fn arrange(&mut self) -> Result<(), GenerateError> {
        // From the last row on, so that what moves into a place is a text that goes on.
        for id in self.rows.ids().iter().rev().copied().collect::<Vec<_>>() {
            if self.text(id).is_some_and(|text| matches!(text.stage, Stage::Running)) {
                continue;
            }
            let moved = self.rows.leave(id)?;
            if let Some(text) = moved.and_then(|moved| self.text(moved)) {
                self.rows.set(text.id, text.session(), &text.options)?;
            }
        }
        for text in &mut self.texts {
            text.join(&mut self.rows)?;
        }
        Ok(())
    }

    /// Keeps the device busy: submits as long as there is room for what it may run ahead of the host.
    fn fill(&mut self) -> Result<(), GenerateError> {
        let Self { rows, texts, pool, .. } = self;
        let mut texts: Vec<_> = texts.iter_mut().filter(|text| rows.ids().contains(&text.id)).collect();
        while !rows.is_full() {
            let room = texts.iter().map(|text| pool.shape.in_flight.saturating_sub(text.beyond())).min();
            let left = texts.iter().map(|text| text.left().saturating_sub(text.beyond())).max();
            let (Some(first), Some(room), Some(left)) = (texts.first(), room, left) else { break };
            let steps = rows.pace().min(room).min(left);
            // A small rest is not worth a submit of its own while another is under way.
            if steps == 0 || (steps < rows.pace() && steps < left && rows.is_busy()) {
                break;
            }
            let chain = Chain::of_all(texts.iter().map(|text| &text.options.sampler));
            // The longest text decides: a short one leaves the room that it does not need.
            let splits = texts.iter().map(|text| text.session().splits()).max().unwrap_or(1);
            rows.submit(first.session(), chain, splits, steps)?;
            texts.iter_mut().for_each(|text| text.ahead += steps);
        }
        Ok(())
    }

    /// Takes in what a submit has brought.
    fn collect(&mut self, brought: &Brought) -> Result<(), GenerateError> {
        let mut counts = Vec::new();
        for (row, id) in brought.ids.iter().enumerate() {
            let count = match self.text_mut(*id) {
                Some(text) => text.collect(brought, row)?,
                None => 0,
            };
            counts.push((*id, count));
        }
        for step in 0..brought.steps {
            self.turns.extend(counts.iter().filter(|(_, count)| step < *count).map(|(id, _)| *id));
        }
        Ok(())
    }
}
