//! Several texts of one pool with the same settings, until each has ended.

use super::{Batch, BatchEvent, GenerateError, GenerateOptions, StopReason, Token};
use crate::session::Session;

/// How one of several texts went on.
#[derive(Debug)]
pub struct Continued {
    /// The tokens, in order. The last one is the session's pending token.
    pub tokens: Vec<Token>,
    /// Why it ended, or what went wrong after these tokens.
    pub end: Result<StopReason, GenerateError>,
}

/// Goes on with several texts of one pool until each has ended: a [`Batch`] of texts with the same settings that begin at once. Each has its
/// own position, ring and end, and gets the tokens that it would get alone, as there. How many steps are made at a time is
/// [`GenerateOptions::steps`].
///
/// # Errors
/// [`GenerateError::NotTogether`] if the sessions are not of one pool, [`GenerateError::PoolBusy`] while others of the pool go on together,
/// [`EmptyPrompt`](crate::session::SessionError::EmptyPrompt) if one of them has no text, a setting out of range; nothing was drawn then.
/// The device; then, and when this future is dropped, what was handed out so far is in the sessions.
pub async fn generate_together(
    sessions: &mut [&mut Session],
    options: &GenerateOptions,
) -> Result<Vec<Continued>, GenerateError> {
    let Some(first) = sessions.first() else { return Ok(Vec::new()) };
    let mut batch: Batch<&mut Session> = Batch::new(first.pool(), options.steps)?;
    for session in &*sessions {
        batch.check(session, options)?;
    }
    // By the number of the text; a text that has not ended has no end.
    let mut texts = Vec::new();
    for session in sessions {
        let id = batch.add(&mut **session, options.clone()).map_err(|refused| refused.error)?;
        texts.push((id, Vec::new(), None));
    }
    while let Some(event) = batch.next_event().await? {
        let (BatchEvent::Piece { id, .. } | BatchEvent::Ended { id, .. }) = &event;
        let Some((_, tokens, ended)) = texts.iter_mut().find(|(text, ..)| text == id) else {
            unreachable!("only these texts were added")
        };
        match event {
            BatchEvent::Piece { piece, .. } => tokens.extend(piece.token),
            BatchEvent::Ended { end, .. } => *ended = Some(end),
        }
    }
    let continued = |(_, tokens, end): (_, Vec<Token>, Option<_>)| match end {
        Some(end) => Continued { tokens, end },
        None => unreachable!("the batch goes on until every text has ended"),
    };
    Ok(texts.into_iter().map(continued).collect())
}
