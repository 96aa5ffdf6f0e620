//! An answer as it is generated, which holds its conversation.

use super::Chat;
use crate::error::Error;
use crate::generate::{Piece, StopReason, TextGeneration};
use crate::session::Session;

/// An answer being generated; see [`Chat::say`].
#[derive(Debug)]
pub struct Answer<'c> {
    pub(super) chat: &'c mut Chat,
    pub(super) generation: TextGeneration,
}

impl Answer<'_> {
    /// The next piece; `None` when the answer has ended.
    ///
    /// # Errors
    /// As [`TextGeneration::next_piece`].
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, Error> {
        self.chat.next_piece(&mut self.generation).await
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
        self.chat.session()
    }
}

/// Blocks on each piece. In the browser, await [`Answer::next_piece`] instead.
#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Answer<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.next_piece()).transpose()
    }
}
