//! Generated tokens as text: whole characters, stop strings cut off, inserted anchors hidden.

use super::{GenerateError, GenerateOptions, Generation, StopReason, Token};
use crate::session::Session;
use crate::tokenizer::{DecodeStream, StopStrings, Tokenizer};

/// A token, and the text that it completes: often its own, sometimes none, because half a character or what may become a stop
/// string is held back until more is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token; `None` for text that was held back and comes out at the end.
    pub token: Option<Token>,
    /// Text to show.
    pub text: String,
}

/// A text being generated, piece by piece; polled with its session, as [`Generation`] is.
#[derive(Debug)]
pub struct TextGeneration {
    generation: Generation,
    wording: Wording,
    ended: bool,
}

/// Makes text of the tokens of a text, until a stop string.
#[derive(Debug)]
pub(super) struct Wording {
    decoder: DecodeStream,
    stops: StopStrings,
}

impl Wording {
    pub(super) fn new(session: &Session, tokenizer: &Tokenizer, stops: StopStrings) -> Self {
        let inserted = session.policy().insert.map(|insert| insert.id);
        // A vocabulary without a list of special tokens (tokenizer.model) does not say that an end of text is one.
        let ends = &session.model().config().eos_tokens;
        Self { decoder: tokenizer.decode_stream().hide(inserted.as_slice()).hide(ends), stops }
    }

    /// The text that a token completes, and whether a stop string ends it.
    pub(super) fn push(&mut self, id: u32) -> (String, bool) {
        let (text, found) = self.stops.push(&self.decoder.push(id));
        (text, found.is_some())
    }

    /// What was held back.
    pub(super) fn finish(&mut self) -> String {
        let (mut text, found) = self.stops.push(&self.decoder.finish());
        if found.is_none() {
            text.push_str(&self.stops.finish());
        }
        text
    }
}

/// A [`TextGeneration`], and the session that it goes on with.
#[derive(Debug)]
pub struct Pieces<'s> {
    session: &'s mut Session,
    generation: TextGeneration,
}

impl Session {
    /// Starts to generate text after the text so far. `stops` end it wherever they occur and are not shown themselves; the session
    /// then ends with the token that completed the stop. One that spells a special token, which gives no text, stops at the token.
    ///
    /// An anchor that the policy inserts ([`Policy::insert`](crate::kv::Policy::insert)) and a token that ends a text are given out as
    /// tokens, but not shown.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn start_text(
        &mut self,
        tokenizer: &Tokenizer,
        mut options: GenerateOptions,
        stops: StopStrings,
    ) -> Result<TextGeneration, GenerateError> {
        options.add_special(tokenizer, &stops);
        let wording = Wording::new(self, tokenizer, stops);
        let generation = self.start(options)?;
        Ok(TextGeneration { generation, wording, ended: false })
    }

    /// [`Session::start_text`], and holds the session: the pieces are an iterator.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn generate_text(
        &mut self,
        tokenizer: &Tokenizer,
        options: GenerateOptions,
        stops: StopStrings,
    ) -> Result<Pieces<'_>, GenerateError> {
        let generation = self.start_text(tokenizer, options, stops)?;
        Ok(Pieces { session: self, generation })
    }
}

impl TextGeneration {
    /// The next piece; `None` when the text has ended.
    ///
    /// # Errors
    /// As [`Generation::next_token`].
    pub async fn next_piece(&mut self, session: &mut Session) -> Result<Option<Piece>, GenerateError> {
        if self.ended {
            return Ok(None);
        }
        let Some(token) = self.generation.next_token(session).await? else {
            self.ended = true;
            let text = self.wording.finish();
            return Ok((!text.is_empty()).then_some(Piece { token: None, text }));
        };
        let (text, stopped) = self.wording.push(token.id);
        if stopped {
            self.generation.stop();
            self.ended = true;
        }
        Ok(Some(Piece { token: Some(token), text }))
    }

    /// Submits nothing more; see [`Generation::cancel`].
    pub fn cancel(&mut self) {
        self.generation.cancel();
    }

    /// Why it ended; `None` while it goes on.
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.generation.stop_reason()
    }
}

impl Pieces<'_> {
    /// [`TextGeneration::next_piece`].
    ///
    /// # Errors
    /// As there.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, GenerateError> {
        self.generation.next_piece(self.session).await
    }

    /// [`TextGeneration::cancel`].
    pub fn cancel(&mut self) {
        self.generation.cancel();
    }

    /// [`TextGeneration::stop_reason`].
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.generation.stop_reason()
    }

    /// The session, for its statistics.
    pub fn session(&self) -> &Session {
        self.session
    }
}

/// Blocks on each piece. In the browser, await [`Pieces::next_piece`] instead.
#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Pieces<'_> {
    type Item = Result<Piece, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.next_piece()).transpose()
    }
}
