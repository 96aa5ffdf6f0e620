//! A conversation on one live ring: each turn adds what is new, and nothing that is remembered is read again, where the chat template
//! allows it.
//!
//! ```text
//! mod.rs    the turns
//! answer.rs an answer as it is generated
//! told.rs   the conversation as text, for templates that write it anew at each turn
//! ```

mod answer;
mod told;

pub use answer::Answer;

use told::Told;

use crate::error::Error;
use crate::generate::{GenerateOptions, Piece, TextGeneration};
use crate::gpu::GpuError;
use crate::kv::{Anchor, MAX_POSITIONS, Tagger};
use crate::session::{Session, SessionError, check_ids};
use crate::tokenizer::{Reasoning, StopStrings, Tokenizer, TokenizerError, Turns};

/// A conversation.
#[derive(Debug)]
pub struct Chat {
    session: Session,
    tokenizer: Tokenizer,
    turns: Turns,
    system: Option<String>,
    /// Turns of the user so far.
    asked: u32,
    /// What there was before the last turn; where the conversation is `told`, what its next prompt begins with.
    before: Option<Before>,
    /// The marks around what the model thinks, if it does.
    reasoning: Option<Reasoning>,
    /// Whether the template opens a thought where the answer begins.
    opens_thought: bool,
    /// Whether the template writes the conversation anew at each turn.
    is_told: bool,
    /// The conversation as text, if so.
    told: Option<Told>,
}

#[derive(Debug)]
struct Before {
    session: Session,
    asked: u32,
}

/// An anchor that is remembered, and the text of the segment it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// Where it lies.
    pub anchor: Anchor,
    /// The text of its segment, the anchor included.
    pub text: String,
}

impl Remembered {
    /// What a session remembers by anchors, oldest first.
    pub fn all(session: &Session, tokenizer: &Tokenizer) -> Vec<Self> {
        let text = |anchor: Anchor| {
            let mut stream = tokenizer.decode_stream();
            let ids = session.tokens(anchor.start..anchor.pos + 1);
            let mut text: String = ids.map(|id| stream.push(id)).collect();
            text.push_str(&stream.finish());
            Self { anchor, text }
        };
        session.anchors().map(text).collect()
    }
}

impl Chat {
    /// A conversation on `session`, which is emptied. `system` is said before everything else.
    ///
    /// # Errors
    /// The device, a template that fails.
    pub fn new(
        mut session: Session,
        tokenizer: Tokenizer,
        turns: Turns,
        system: Option<String>,
    ) -> Result<Self, Error> {
        session.reset()?;
        let reasoning = turns.reasoning(&tokenizer);
        let (mut drops, mut opens_thought) = (false, false);
        if let Some(marks) = &reasoning {
            (drops, opens_thought) = (turns.drops_thoughts(marks)?, turns.opens_thought(marks)?);
        }
        let is_told = drops || !turns.is_continued(system.as_deref())?;
        let told = is_told.then(Told::default);
        Ok(Self {
            session,
            tokenizer,
            turns,
            system,
            asked: 0,
            before: None,
            reasoning,
            opens_thought,
            is_told,
            told,
        })
    }

    /// Whether each turn only adds to what was read. Else the template writes the conversation anew at each turn, and what differs is
    /// read again.
    pub fn is_continued(&self) -> bool {
        self.told.is_none()
    }

    /// The marks around what the model thinks before it answers, and whether the prompt has opened a thought already; `None` for a model
    /// that has none.
    pub fn reasoning(&self) -> Option<(&Reasoning, bool)> {
        self.reasoning.as_ref().map(|marks| (marks, self.opens_thought))
    }

    /// Asks, and returns the answer as it is generated. What is not taken from it was never said.
    ///
    /// # Errors
    /// A template that cannot be continued, more text than the policy has room for (nothing was asked then), a setting out of
    /// range, the device.
    pub async fn say(
        &mut self,
        user: &str,
        options: GenerateOptions,
        stops: StopStrings,
    ) -> Result<Answer<'_>, Error> {
        self.session.sampler(&options)?;
        let ids = self.begin_turn(user).await?;
        self.append(&ids).await?;
        let generation = self.answer(options, stops)?;
        Ok(Answer { chat: self, generation })
    }

    /// Begins a turn of the user, and returns the tokens that [`Chat::append`] has to read for it. For a program that reads a long
    /// question piece by piece, or keeps the tokens of a conversation; [`Chat::say`] does all at once.
    ///
    /// # Errors
    /// As [`Chat::say`]; nothing was asked then.
    pub async fn begin_turn(&mut self, user: &str) -> Result<Vec<u32>, Error> {
        if self.told.is_some() {
            return self.begin_told(user).await;
        }
        // An answer that the model ended has its end-of-text token pending: the template's own end takes its place.
        let ended = self.ended_by_itself();
        let pending = self.session.pending().filter(|_| !ended);
        let tagger = self.session.tagger(pending);
        let ids = tagger.close_segments(self.session.policy(), &self.prompt(user)?);
        self.session.check(&pending.into_iter().chain(ids.iter().copied()).collect::<Vec<_>>())?;
        self.remember_before().await?;
        // From here on there is something to undo, whatever happens to this future.
        self.asked += 1;
        if ended {
            self.session.drop_pending();
        }
        Ok(ids)
    }

    /// [`Chat::begin_turn`] where the whole conversation is rendered anew: what of it the session has not read yet.
    async fn begin_told(&mut self, user: &str) -> Result<Vec<u32>, Error> {
        let Self { session, told, before, turns, tokenizer, .. } = self;
        let Some(told) = told else { return Ok(Vec::new()) };
        if let Some(marks) = &self.reasoning {
            // Templates find a thought by its end, which one that was cut off does not have.
            told.close(|answer| marks.closing(answer, self.opens_thought));
        }
        let prompt =
            turns.whole_ids(tokenizer, self.system.as_deref(), told.exchanges(), user, session.policy())?;
        let limit = session.policy().limit.unwrap_or(MAX_POSITIONS);
        check_ids(&prompt, session.model().config().vocab_size, 0, limit)?;
        Tagger::default().check_segments(session.policy(), 0, &prompt)?;
        // What is the same once this question and its answer are past.
        let past: Vec<_> =
            told.exchanges().iter().cloned().chain([(user.to_owned(), "1".to_owned())]).collect();
        let later = turns.whole_ids(tokenizer, self.system.as_deref(), &past, "1", session.policy())?;
        let lasting = prompt.iter().zip(&later).take_while(|(now, later)| now == later).count();
        let rest = match (told.rest(&prompt), before) {
            (Some(rest), Some(before)) => {
                session.copy_from(&before.session)?;
                rest.to_vec()
            }
            _ => {
                session.reset()?;
                prompt.clone()
            }
        };
        told.ask(user, &prompt[..lasting]);
        self.asked += 1;
        if self.before.is_none() {
            self.remember_before().await?;
        }
        Ok(rest)
    }

    /// The tokens of an answer that was given elsewhere, for [`Chat::append`] after those of the turn: so a conversation is taken up
    /// from its texts. It is part of the conversation from here on.
    ///
    /// # Errors
    /// As [`Turns::answer_ids`].
    pub fn answer_ids(&mut self, answer: &str) -> Result<Vec<u32>, Error> {
        let ids = self.turns.answer_ids(&self.tokenizer, answer, self.session.policy())?;
        if let Some(told) = &mut self.told {
            told.answer(answer);
        }
        Ok(self.session.close_segments(&ids))
    }

    /// Reads tokens of the turn that was begun.
    ///
    /// # Errors
    /// As [`Session::append`].
    pub async fn append(&mut self, ids: &[u32]) -> Result<(), Error> {
        let mut rest = ids;
        if let (Some(told), Some(before)) = (&mut self.told, &mut self.before)
            && let Some(first) = told.until_copy(self.session.length(), ids.len())
        {
            let (read, later) = ids.split_at(first);
            self.session.append(read).await?;
            before.session.copy_from(&self.session)?;
            told.keep();
            rest = later;
        }
        Ok(self.session.append(rest).await?)
    }

    /// Starts the answer to the question that was read, or goes on with one that was cut short. It is polled with
    /// [`Chat::next_piece`].
    ///
    /// # Errors
    /// As [`Session::start_text`].
    pub fn answer(&mut self, options: GenerateOptions, stops: StopStrings) -> Result<TextGeneration, Error> {
        let options = self.sparing(options);
        Ok(self.session.start_text(&self.tokenizer, options, stops)?)
    }

    /// The same options, whose penalties leave the tokens alone that structure the conversation.
    fn sparing(&self, mut options: GenerateOptions) -> GenerateOptions {
        if options.sampler.has_penalties() {
            let structure = self.turns.structure(&self.tokenizer, self.session.policy());
            options.sampler.unpenalized.extend(structure);
        }
        options
    }

    /// The next piece of an answer; `None` when it has ended.
    ///
    /// # Errors
    /// As [`TextGeneration::next_piece`].
    pub async fn next_piece(&mut self, answer: &mut TextGeneration) -> Result<Option<Piece>, Error> {
        let piece = answer.next_piece(&mut self.session).await?;
        if let (Some(told), Some(piece)) = (&mut self.told, &piece) {
            // A mark that is a special token gives no text, and the template has to see it.
            let id = piece.token.as_ref().map(|token| token.id);
            told.answer(self.reasoning.as_ref().map_or(&piece.text, |marks| marks.spelled(&piece.text, id)));
        }
        Ok(piece)
    }

    /// Takes up a conversation of `asked` questions from its tokens, as after the loss of a device. There is nothing to undo then, and
    /// what the model thought stays.
    ///
    /// # Errors
    /// As [`Session::append`]; a template under which tokens are not enough to go on, for it writes the conversation anew.
    pub async fn resume(&mut self, ids: &[u32], asked: u32) -> Result<(), Error> {
        if ids.is_empty() && asked > 0 {
            let reason = "nothing is left of a conversation whose last turn was just taken back";
            return Err(TokenizerError::TemplateTurns { reason }.into());
        }
        if self.is_told && !self.turns.is_continued(self.system.as_deref())? {
            let reason = "it writes a conversation anew at each turn, for which its texts are needed";
            return Err(TokenizerError::TemplateTurns { reason }.into());
        }
        self.reset()?;
        self.told = None;
        // The end of an answer is written by the template of the next turn.
        let eos = &self.session.model().config().eos_tokens;
        let ids = match ids {
            [rest @ .., last] if eos.contains(last) => rest,
            all => all,
        };
        self.session.append(ids).await?;
        self.asked = asked;
        Ok(())
    }

    /// What has to be appended so that `user` is asked next.
    fn prompt(&self, user: &str) -> Result<Vec<u32>, Error> {
        let (system, policy) = (self.system.as_deref(), self.session.policy());
        Ok(match self.asked {
            0 => self.turns.first_ids(&self.tokenizer, system, user, policy)?,
            _ => self.turns.next_ids(&self.tokenizer, system, user, policy)?,
        })
    }

    fn ended_by_itself(&self) -> bool {
        let eos = &self.session.model().config().eos_tokens;
        self.session.pending().is_some_and(|id| eos.contains(&id))
    }

    async fn remember_before(&mut self) -> Result<(), Error> {
        let asked = self.asked;
        match &mut self.before {
            Some(before) => {
                before.session.copy_from(&self.session)?;
                before.asked = asked;
            }
            None => match self.session.fork().await {
                Ok(session) => self.before = Some(Before { session, asked }),
                // A conversation without undo is better than none.
                Err(SessionError::Gpu(GpuError::Allocation { .. })) => {
                    log::warn!("no memory is left for undo");
                }
                Err(error) => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// Takes the last question and its answer back; false if there is none, or it was taken back already. Where the conversation is kept
    /// as text, one turn after the other can be taken back, and the session holds nothing until the next question is read.
    ///
    /// # Errors
    /// The device.
    pub fn undo(&mut self) -> Result<bool, Error> {
        if let Some(told) = &mut self.told {
            let is_some = self.asked > 0;
            self.asked = self.asked.saturating_sub(1);
            told.take_back(self.asked);
            self.session.reset()?;
            return Ok(is_some);
        }
        let Some(before) = &self.before else { return Ok(false) };
        if before.asked == self.asked {
            return Ok(false);
        }
        self.session.copy_from(&before.session)?;
        self.asked = before.asked;
        Ok(true)
    }

    /// Forgets the conversation.
    ///
    /// # Errors
    /// The device.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.session.reset()?;
        self.asked = 0;
        self.before = None;
        self.told = self.is_told.then(Told::default);
        Ok(())
    }

    /// The tokens that [`Chat::begin_turn`] has brought back into an empty session, without reading them again: after a turn was taken
    /// back of a conversation that is kept as text. A program that keeps the tokens itself needs them.
    pub fn brought_back(&self) -> &[u32] {
        self.told.as_ref().map_or(&[], Told::kept)
    }

    /// [`Remembered::all`] of the conversation.
    pub fn remembered(&self) -> Vec<Remembered> {
        Remembered::all(&self.session, &self.tokenizer)
    }

    /// Questions asked so far.
    pub fn asked(&self) -> u32 {
        self.asked
    }

    /// The session, for its statistics.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Bytes of device memory of the conversation: of the session, of its state before the last turn, and of what both share.
    pub fn allocated_bytes(&self) -> u64 {
        let before = self.before.as_ref().map_or(0, |before| before.session.allocated_bytes());
        self.session.allocated_bytes() + self.session.shared_bytes() + before
    }
}
