//! Vocabularies of SentencePiece: pieces with scores, merged by score or chosen as the likeliest sequence.
//!
//! The `tokenizers` crate knows merges by rank only. A list of merges made from scores is not the same model: two
//! merges that give one piece have one score, and then the left one goes first; a piece may be made of parts that are
//! none; and some pieces are made only to be taken apart again. So the two algorithms are written here, after the
//! reference implementation, on checked pieces.

mod by_score;
pub(super) mod file;
mod likeliest;
pub(super) mod prefixes;

use std::collections::HashMap;

use super::error::TokenizerError;
use super::spec::{Fields, at_most, invalid};
use crate::model_file::quoted;
use prefixes::Prefixes;

/// U+2581, which stands for a space in pieces.
pub(super) const SPACE: char = '\u{2581}';
/// Most bytes of a piece of a unigram vocabulary, at each of which a text is compared with the pieces.
const MAX_UNIGRAM_BYTES: usize = 256;

/// Which pieces a text may not become, whatever it spells.
pub(super) type Barred<'a> = &'a dyn Fn(u32) -> bool;

/// How pieces are found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Two neighbours become one piece, the best score first.
    ByScore,
    /// The pieces whose scores have the largest sum. `single` rounds every sum to 32 bits, as SentencePiece does and
    /// as the readers of tokenizer.json do not.
    Likeliest { single: bool },
}

/// What a piece is for, as SentencePiece numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    /// The kind of a number in a file, 1 to 6.
    pub(super) fn of(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// The number that [`Kind::of`] reads.
    #[cfg(feature = "convert")]
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Normal => 1,
            Self::Unknown => 2,
            Self::Control => 3,
            Self::UserDefined => 4,
            Self::Unused => 5,
            Self::Byte => 6,
        }
    }

    /// Whether a text can become the piece; the others only get their ids otherwise.
    fn in_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined | Self::Unused)
    }
}

/// What happens to the spaces of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spaces {
    /// A space is put in front.
    pub prefix: bool,
    /// Spaces at both ends vanish, and of several in a row one stays.
    pub collapse: bool,
}

impl Spaces {
    /// The text as the pieces spell it.
    fn apply(self, text: &str) -> String {
        let (text, mut after_space) =
            if self.collapse { (text.trim_start_matches(' '), true) } else { (text, false) };
        let mut spelled = String::with_capacity(text.len().saturating_add(SPACE.len_utf8()));
        if text.is_empty() {
            return spelled;
        }
        if self.prefix {
            spelled.push(SPACE);
        }
        for c in text.chars() {
            if c != ' ' {
                spelled.push(c);
            } else if !after_space {
                spelled.push(SPACE);
            }
            after_space = self.collapse && c == ' ';
        }
        if self.collapse {
            spelled.truncate(spelled.trim_end_matches(SPACE).len());
        }
        spelled
    }
}

/// A vocabulary of pieces as read, not yet checked.
pub(super) struct PieceSpec {
    pub algorithm: Algorithm,
    /// Score and kind of each entry of the vocabulary, in its order, which is that of the ids.
    pub pieces: Vec<(f64, Kind)>,
    /// The piece for what the vocabulary lacks; without one it vanishes.
    pub unk: Option<u32>,
    /// Characters that the vocabulary lacks become the pieces `<0x00>` to `<0xFF>`.
    pub byte_fallback: bool,
    /// `None` where a normalizer or pre-tokenizer already spells the spaces.
    pub spaces: Option<Spaces>,
}

/// A vocabulary of pieces, checked and ready.
pub(super) struct Pieces {
    algorithm: Algorithm,
    /// By id.
    pieces: Vec<Piece>,
    /// The pieces that a text can become.
    in_text: HashMap<Box<str>, u32>,
    /// All others.
    reserved: HashMap<Box<str>, u32>,
    /// For [`Algorithm::ByScore`] the user defined pieces, which nothing breaks; else all that a text can become.
    prefixes: Prefixes,
    longest: usize,
    unk: Option<u32>,
    /// The piece of each byte, if there is a fallback.
    bytes: Option<Vec<u32>>,
    spaces: Option<Spaces>,
    /// Least score of the normal pieces.
    least: f64,
}

/// One piece.
struct Piece {
    spelling: Box<str>,
    score: f64,
    kind: Kind,
}

impl Pieces {
    /// Checks the pieces and builds the tables. Spellings are known to be unique and bounded.
    ///
    /// # Errors
    /// [`TokenizerError::Invalid`] or [`TokenizerError::TooLarge`] with the field.
    pub(super) fn new(
        vocab: Vec<(String, u32)>,
        spec: PieceSpec,
        fields: &Fields,
        file: &str,
    ) -> Result<Self, TokenizerError> {
        let PieceSpec { algorithm, pieces, unk, byte_fallback, spaces } = spec;
        let longest = vocab.iter().map(|(spelling, _)| spelling.len()).max().unwrap_or(0);
        if algorithm != Algorithm::ByScore {
            at_most(file, fields.token, longest, MAX_UNIGRAM_BYTES)?;
        }
        if let Some(unk) = unk.filter(|unk| usize::try_from(*unk).is_ok_and(|unk| unk >= pieces.len())) {
            return Err(invalid(file, fields.unk, &unk.to_string(), "the id of a token"));
        }
        let mut model = Self {
            algorithm,
            pieces: Vec::new(),
            in_text: HashMap::new(),
            reserved: HashMap::new(),
            prefixes: Prefixes::default(),
            longest,
            unk,
            bytes: None,
            spaces,
            least: f32::MAX.into(),
        };
        for ((spelling, id), (score, kind)) in vocab.into_iter().zip(pieces) {
            if !score.is_finite() {
                let field = format!("{}[{id}]", fields.scores);
                return Err(invalid(file, &field, &score.to_string(), "a finite number"));
            }
            let spelling: Box<str> = spelling.into();
            let map = if kind.in_text() { &mut model.in_text } else { &mut model.reserved };
            map.insert(spelling.clone(), id);
            if kind == Kind::Normal {
                model.least = model.least.min(score);
            }
            // Adding zero makes a negative zero positive: the two are one score.
            model.pieces.push(Piece { spelling, score: score + 0.0, kind });
        }
        model.prefixes = Prefixes::new(model.ids().filter(|(_, id)| model.begins_a_match(*id)));
        if byte_fallback {
            model.bytes = Some(model.byte_pieces(fields, file)?);
        }
        Ok(model)
    }

    fn begins_a_match(&self, id: u32) -> bool {
        let kind = self.piece(id).map(|piece| piece.kind);
        match self.algorithm {
            Algorithm::ByScore => kind == Some(Kind::UserDefined),
            Algorithm::Likeliest { .. } => matches!(kind, Some(Kind::Normal | Kind::UserDefined)),
        }
    }

    /// The piece of every byte.
    fn byte_pieces(&self, fields: &Fields, file: &str) -> Result<Vec<u32>, TokenizerError> {
        let piece = |byte: u8| {
            let spelling = format!("<0x{byte:02X}>");
            self.id(&spelling).ok_or_else(|| {
                invalid(file, fields.vocab, &format!("no token {}", quoted(&spelling)), "one for every byte")
            })
        };
        (0..=u8::MAX).map(piece).collect()
    }

    fn piece(&self, id: u32) -> Option<&Piece> {
        self.pieces.get(usize::try_from(id).ok()?)
    }

    /// The spelling of a piece.
    pub(super) fn spelling(&self, id: u32) -> Option<&str> {
        self.piece(id).map(|piece| &*piece.spelling)
    }

    /// The id of a spelling, whatever its kind.
    pub(super) fn id(&self, spelling: &str) -> Option<u32> {
        self.reserved.get(spelling).or_else(|| self.in_text.get(spelling)).copied()
    }

    /// Every piece.
    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = (&str, u32)> {
        // A vocabulary has at most 2^20 pieces.
        let id = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.pieces.iter().enumerate().map(move |(number, piece)| (&*piece.spelling, id(number)))
    }

    /// The ids of a text that holds no added token, none of them one that `barred` names save for the unknown token in
    /// the place of what the vocabulary lacks.
    pub(super) fn encode(&self, text: &str, barred: Barred<'_>) -> Vec<u32> {
        let spelled = self.spaces.map(|spaces| spaces.apply(text));
        let text = spelled.as_deref().unwrap_or(text);
        let found = match self.algorithm {
            Algorithm::ByScore => by_score::split(self, text, barred),
            Algorithm::Likeliest { single } => likeliest::split(self, text, single, barred),
        };
        let mut ids = Vec::new();
        let mut after_unknown = false;
        for (part, id) in found {
            let known = id.filter(|id| Some(*id) != self.unk);
            let unknown = known.is_none();
            match (known, &self.bytes) {
                (Some(id), _) => ids.push(id),
                (None, Some(bytes)) => {
                    ids.extend(part.bytes().filter_map(|byte| bytes.get(usize::from(byte)).copied()));
                }
                // A run of unknown characters is one token.
                (None, None) if !after_unknown => ids.extend(self.unk),
                (None, None) => {}
            }
            after_unknown = unknown;
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_spelled_as_the_rules_say() {
        let apply = |prefix, collapse, text: &str| Spaces { prefix, collapse }.apply(text);
        assert_eq!(apply(true, false, " a  b\u{a0} "), "\u{2581}\u{2581}a\u{2581}\u{2581}b\u{a0}\u{2581}");
        assert_eq!(apply(true, true, "  a  b\t  c "), "\u{2581}a\u{2581}b\t\u{2581}c");
        assert_eq!(apply(false, true, " a"), "a");
        assert_eq!(apply(false, false, " a"), "\u{2581}a");
        assert_eq!((apply(true, true, "   "), apply(true, false, "")), (String::new(), String::new()));
        // A U+2581 of the text at its end goes with the spaces, in the reference as well.
        assert_eq!(apply(true, true, "a\u{2581} "), "\u{2581}a");
    }
}
