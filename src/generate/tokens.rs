//! A generation together with its session: tokens as an iterator and as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::{GenerateError, Generation, StopReason, Token};
use crate::gpu::Dispatch;
use crate::session::Session;

/// A [`Generation`], and the session that it goes on with.
#[derive(Debug)]
pub struct Tokens<'s> {
    pub(super) session: &'s mut Session,
    pub(super) generation: Generation,
}

impl Tokens<'_> {
    /// [`Generation::next_token`].
    ///
    /// # Errors
    /// As there.
    pub async fn next_token(&mut self) -> Result<Option<Token>, GenerateError> {
        self.generation.next_token(self.session).await
    }

    /// [`Generation::stop_reason`].
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.generation.stop_reason()
    }

    /// [`Generation::cancel`].
    pub fn cancel(&mut self) {
        self.generation.cancel();
    }

    /// [`Generation::stop`].
    pub fn stop(&mut self) {
        self.generation.stop();
    }

    /// The session, for its statistics.
    pub fn session(&self) -> &Session {
        self.session
    }

    /// [`Generation::step_dispatches`].
    pub fn step_dispatches(&self) -> &[Dispatch] {
        self.generation.step_dispatches()
    }
}

/// Blocks on each token. In the browser, await [`Tokens::next_token`] or use the stream instead.
#[cfg(not(target_arch = "wasm32"))]
impl Iterator for Tokens<'_> {
    type Item = Result<Token, GenerateError>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.next_token()).transpose()
    }
}

/// Does not wait for the device; see [`Generation::poll_token`].
impl futures_core::Stream for Tokens<'_> {
    type Item = Result<Token, GenerateError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { session, generation } = &mut *self;
        generation.poll_token(session, cx).map(Result::transpose)
    }
}
