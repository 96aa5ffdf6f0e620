//! A conversation on one live ring: each turn adds what is new, and nothing that is remembered is read again.

use crate::error::Error;
use crate::generate::{GenerateOptions, Piece, Pieces, TextGeneration};
use crate::gpu::GpuError;
use crate::kv::Anchor;
use crate::session::{Session, SessionError};
use crate::tokenizer::{StopStrings, Tokenizer, Turns};

/// A conversation.
#[derive(Debug)]
pub struct Chat {
    session: Session,
    tokenizer: Tokenizer,
    turns: Turns,
    system: Option<String>,
    /// Turns of the user so far.
    asked: u32,
    /// What there was before the last turn.
    before: Option<Before>,
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
    /// The device.
    pub fn new(
        mut session: Session,
        tokenizer: Tokenizer,
        turns: Turns,
        system: Option<String>,
    ) -> Result<Self, Error> {
        session.reset()?;
        Ok(Self { session, tokenizer, turns, system, asked: 0, before: None })
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
    ) -> Result<Pieces<'_>, Error> {
        self.session.sampler(&options)?;
        let ids = self.begin_turn(user).await?;
        self.session.append(&ids).await?;
        let options = self.sparing(options);
        Ok(self.session.generate_text(&self.tokenizer, options, stops)?)
    }

    /// Begins a turn of the user, and returns the tokens that [`Chat::append`] has to read for it. For a program that reads a long
    /// question piece by piece, or keeps the tokens of a conversation; [`Chat::say`] does all at once.
    ///
    /// # Errors
    /// As [`Chat::say`]; nothing was asked then.
    pub async fn begin_turn(&mut self, user: &str) -> Result<Vec<u32>, Error> {
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

    /// The tokens of an answer that was given elsewhere, for [`Chat::append`] after those of the turn: so a conversation is taken up
    /// from its texts.
    ///
    /// # Errors
    /// As [`Turns::answer_ids`].
    pub fn answer_ids(&self, answer: &str) -> Result<Vec<u32>, Error> {
        let ids = self.turns.answer_ids(&self.tokenizer, answer, self.session.policy())?;
        Ok(self.session.close_segments(&ids))
    }

    /// Reads tokens of the turn that was begun.
    ///
    /// # Errors
    /// As [`Session::append`].
    pub async fn append(&mut self, ids: &[u32]) -> Result<(), Error> {
        Ok(self.session.append(ids).await?)
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
        Ok(answer.next_piece(&mut self.session).await?)
    }

    /// Takes up a conversation of `asked` questions from its tokens, as after the loss of a device. There is nothing to undo then.
    ///
    /// # Errors
    /// As [`Session::append`].
    pub async fn resume(&mut self, ids: &[u32], asked: u32) -> Result<(), Error> {
        self.reset()?;
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

    /// Takes the last question and its answer back; false if there is none, or it was taken back already.
    ///
    /// # Errors
    /// The device.
    pub fn undo(&mut self) -> Result<bool, Error> {
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
        Ok(())
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
