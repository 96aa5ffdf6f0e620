//! What a long prompt looks like while it is read: a bar, and a way out.

use std::time::Duration;

use indicatif::ProgressBar;
use web_time::Instant;

use super::{interrupt, load};

/// Prompt tokens that are read between two looks at Ctrl-C: two chunks.
pub(super) const PIECE: usize = 256;
/// What takes longer to read than this gets a bar.
const BAR_AFTER: Duration = Duration::from_millis(500);

/// A prompt being read, [`PIECE`] by [`PIECE`].
pub(super) struct Reading {
    begun: Instant,
    tokens: usize,
    done: usize,
    /// What Ctrl-C does.
    way_out: &'static str,
    bar: Option<ProgressBar>,
}

impl Reading {
    pub(super) fn new(tokens: usize, way_out: &'static str) -> Self {
        Self { begun: Instant::now(), tokens, done: 0, way_out, bar: None }
    }

    /// Before a piece is read: whether to go on. The bar and Ctrl-C go by what is done, so the piece before must be, not only submitted.
    pub(super) fn goes_on(&mut self, piece: &[u32]) -> bool {
        if self.begun.elapsed() > BAR_AFTER {
            let form = format!("reading {{bar:30}} {{pos}}/{{len}} tokens, Ctrl-C {}", self.way_out);
            let bar = self.bar.get_or_insert_with(|| load::bar(&form));
            bar.set_length(self.tokens as u64);
            bar.set_position(self.done as u64);
        }
        self.done += piece.len();
        !interrupt::asked()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
