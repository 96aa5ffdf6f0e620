//! The unigram model: of all ways to write a text in pieces, the one whose scores have the largest sum.

use super::{Barred, Kind, Pieces};

/// How far below the worst piece a character without one lies.
const UNKNOWN_PENALTY: f64 = 10.0;
/// What each byte after the first of a user defined piece counts, so that it is nearly always chosen. This is the
/// bonus of SentencePiece 0.2.3; earlier releases gave less.
const USER_DEFINED_BONUS: f64 = 0.1;

/// The best way to write the text up to some place.
#[derive(Clone, Copy, Default)]
struct Best {
    score: f64,
    /// Where its last piece begins, and its id; `None` for an unknown character.
    last: Option<(usize, Option<u32>)>,
}

/// The parts of a text with their ids, `None` for what is no piece; those that `barred` names are none. `single` rounds
/// sums to 32 bits.
pub(super) fn split<'t>(
    pieces: &Pieces,
    text: &'t str,
    single: bool,
    barred: Barred<'_>,
) -> Vec<(&'t str, Option<u32>)> {
    let mut best = vec![Best::default(); text.len().saturating_add(1)];
    let unknown = rounded(pieces.least - UNKNOWN_PENALTY, single);
    for (start, c) in text.char_indices() {
        let (so_far, rest) =
            (best.get(start).map_or(0.0, |b| b.score), text.get(start..).unwrap_or_default());
        let mut reach = |len: usize, score: f64, id: Option<u32>| {
            let Some(target) = start.checked_add(len).and_then(|end| best.get_mut(end)) else { return };
            let score = rounded(score + so_far, single);
            if target.last.is_none() || score > target.score {
                *target = Best { score, last: Some((start, id)) };
            }
        };
        let mut has_character = false;
        for (len, id) in pieces.prefixes.of(rest).filter(|(_, id)| !barred(*id)) {
            has_character |= len == c.len_utf8();
            reach(len, pieces.score(id, len), Some(id));
        }
        if !has_character {
            reach(c.len_utf8(), unknown, None);
        }
    }
    let mut found = Vec::new();
    let mut end = text.len();
    while let Some((start, id)) = best.get(end).and_then(|best| best.last) {
        found.push((text.get(start..end).unwrap_or_default(), id));
        end = start;
    }
    found.reverse();
    found
}

impl Pieces {
    /// The score of a piece of `len` bytes.
    fn score(&self, id: u32, len: usize) -> f64 {
        match self.piece(id) {
            Some(piece) if piece.kind == Kind::UserDefined => {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                rounded(f64::from(len.saturating_sub(1)) * USER_DEFINED_BONUS, true)
            }
            Some(piece) => piece.score,
            None => 0.0,
        }
    }
}

#[expect(
    clippy::as_conversions,
    reason = "the only way to round to 32 bits, and no number that an index could be"
)]
fn rounded(sum: f64, single: bool) -> f64 {
    if single { f64::from(sum as f32) } else { sum }
}
