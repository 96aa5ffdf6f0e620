//! Byte-pair encoding by score: of all neighbours that together are a piece, those with the best score become it, the
//! left ones first among equals, until there are none. Takes n log n steps for n characters.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::{Barred, Kind, Pieces};

/// A stretch of the text; empty once it is part of the one before.
#[derive(Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    prev: Option<usize>,
    next: Option<usize>,
    /// A user defined piece, which joins nothing.
    whole: bool,
}

/// Two neighbours that together are a piece.
struct Pair {
    score: f64,
    left: usize,
    right: usize,
    /// Bytes of both when the pair was seen; it is out of date once they have others.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// The parts of a text with their ids, `None` for what is no piece; those that `barred` names are none.
pub(super) fn split<'t>(pieces: &Pieces, text: &'t str, barred: Barred<'_>) -> Vec<(&'t str, Option<u32>)> {
    let mut merge = Merge {
        pieces,
        barred,
        text,
        symbols: symbols(pieces, text, barred),
        queue: BinaryHeap::new(),
        halves: HashMap::new(),
    };
    for right in 1..merge.symbols.len() {
        merge.offer(right.checked_sub(1), Some(right));
    }
    while let Some(pair) = merge.queue.pop() {
        merge.join(&pair);
    }
    merge.finish()
}

/// The text as characters and user defined pieces, the longest of these first.
fn symbols(pieces: &Pieces, text: &str, barred: Barred<'_>) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::new();
    let (mut start, mut rest) = (0usize, text);
    while let Some(c) = rest.chars().next() {
        let user_defined = pieces.prefixes.of(rest).filter(|(_, id)| !barred(*id)).last();
        let len = user_defined.map_or(c.len_utf8(), |(len, _)| len);
        let end = start.saturating_add(len);
        let prev = symbols.len().checked_sub(1);
        if let Some(last) = symbols.last_mut() {
            last.next = prev.and_then(|prev| prev.checked_add(1));
        }
        symbols.push(Symbol { start, end, prev, next: None, whole: user_defined.is_some() });
        rest = rest.get(len..).unwrap_or_default();
        start = end;
    }
    symbols
}

/// The state of merging one text.
struct Merge<'p, 't> {
    pieces: &'p Pieces,
    barred: Barred<'p>,
    text: &'t str,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Pair>,
    /// What each unused piece was made of, to take it apart again.
    halves: HashMap<&'t str, (&'t str, &'t str)>,
}

impl<'t> Merge<'_, 't> {
    fn part(&self, symbol: Symbol) -> &'t str {
        self.text.get(symbol.start..symbol.end).unwrap_or_default()
    }

    /// Queues two neighbours if together they are a piece.
    fn offer(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let (Some(&a), Some(&b)) = (self.symbols.get(left), self.symbols.get(right)) else { return };
        let len = b.end.saturating_sub(a.start);
        if a.whole || b.whole || len > self.pieces.longest {
            return;
        }
        let Some(joined) = self.text.get(a.start..b.end) else { return };
        let id = self.pieces.in_text.get(joined).filter(|id| !(self.barred)(**id));
        let Some(piece) = id.and_then(|id| self.pieces.piece(*id)) else {
            return;
        };
        if piece.kind == Kind::Unused {
            self.halves.insert(joined, (self.part(a), self.part(b)));
        }
        self.queue.push(Pair { score: piece.score, left, right, len });
    }

    /// Makes two neighbours one, unless one of them has changed since.
    fn join(&mut self, pair: &Pair) {
        let symbols = (self.symbols.get(pair.left).copied(), self.symbols.get(pair.right).copied());
        let (Some(left), Some(right)) = symbols else { return };
        let gone = left.start == left.end || right.start == right.end;
        if gone || right.end.saturating_sub(left.start) != pair.len {
            return;
        }
        if let Some(symbol) = self.symbols.get_mut(pair.left) {
            (symbol.end, symbol.next) = (right.end, right.next);
        }
        if let Some(symbol) = self.symbols.get_mut(pair.right) {
            symbol.start = symbol.end;
        }
        if let Some(symbol) = right.next.and_then(|next| self.symbols.get_mut(next)) {
            symbol.prev = Some(pair.left);
        }
        self.offer(left.prev, Some(pair.left));
        self.offer(Some(pair.left), right.next);
    }

    /// The pieces that are left, unused ones taken apart.
    fn finish(&self) -> Vec<(&'t str, Option<u32>)> {
        let mut found = Vec::new();
        let mut waiting = Vec::new();
        for symbol in self.symbols.iter().filter(|symbol| symbol.start < symbol.end) {
            waiting.push(self.part(*symbol));
            while let Some(part) = waiting.pop() {
                let id = self.pieces.id(part).filter(|id| !(self.barred)(*id));
                let unused = id.and_then(|id| self.pieces.piece(id)).is_some_and(|p| p.kind == Kind::Unused);
                match self.halves.get(part).filter(|_| unused) {
                    // The left half is the next to be looked at.
                    Some((left, right)) => waiting.extend([right, left]),
                    None => found.push((part, id)),
                }
            }
        }
        found
    }
}
