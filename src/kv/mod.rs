//! The anchor-only cache as integers: which tokens a query may read, and in which slot each of them lies.
//!
//! ```text
//! policy.rs  what is remembered: one struct, five presets, every bound with its default
//! tags.rs    which tokens are anchors and where their segments start, decided online
//! mask.rs    the visibility rule itself, O(n^2): the oracle everything else is measured against
//! layout.rs  slots: three fixed regions, and the structs that host and GPU share
//! ring.rs    the same rule as slot arithmetic, O(1) per token
//! ```
//!
//! Why a room of its own: the ring is exact, not an approximation, and that can be proven on integers alone,
//! without a GPU and without a tolerance. There are no floats here, and nothing allocates after
//! [`Ring::new`]. The kernel `kv_step` computes the same integers on the GPU; [`Ring::step`] holds the text
//! both follow.
//!
//! Throughout, `pos` is a token's absolute position (kept for ever) and `slot` is an index into a layer's
//! cache buffer.

mod layout;
pub mod mask;
mod policy;
mod ring;
mod tags;

pub use layout::{Anchor, Chunk, Key, KvCounts, Region, RingLayout, RingParams, RingState, Row};
pub use policy::{AtMaxSegment, Insert, Place, Policy, PolicySpec, Preset, TokenSet, Trained};
pub use ring::Ring;
pub use tags::{Tag, Tagger, Tags};

/// Positions are smaller than this: the reach of the two RoPE tables. It also bounds every policy field that
/// sizes memory, so that no sum of positions and capacities can leave `u32`.
pub const MAX_POSITIONS: u32 = 1 << 22;

/// The slot of nothing: this row writes no key there.
pub const NONE: u32 = u32::MAX;

/// What a policy or a ring refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KvError {
    /// The name is not one of the five presets.
    #[error("policy {name:?} is unknown, there are full, anchor, sepllm, streaming and window")]
    UnknownPreset {
        /// The name as given, cut at 64 characters.
        name: String,
    },
    /// A number outside the range that its field allows.
    #[error("{field} is {value}, allowed are {min} to {max}")]
    OutOfRange {
        /// The field, as [`PolicySpec`] names it.
        field: &'static str,
        /// The value given.
        value: u32,
        /// The smallest value allowed.
        min: u32,
        /// The largest value allowed.
        max: u32,
    },
    /// `anchor` and `sepllm` without a word on which tokens are anchors. An explicitly empty list is
    /// accepted.
    #[error("policy {preset} needs anchor ids")]
    MissingAnchors {
        /// The preset that was asked for.
        preset: Preset,
    },
    /// A planned capacity for a policy that has none: only `full` ends.
    #[error("ctx is {ctx}, but only policy full has a planned capacity, not {preset}")]
    CtxWithoutFull {
        /// The capacity given.
        ctx: u32,
        /// The preset that was asked for.
        preset: Preset,
    },
    /// An anchor id that the model's vocabulary does not hold.
    #[error("anchor id {id} is outside the vocabulary of {vocab_size} tokens")]
    AnchorOutsideVocab {
        /// The id given.
        id: u32,
        /// Tokens in the vocabulary.
        vocab_size: u32,
    },
    /// A token to insert that would not close a segment.
    #[error("inserted token id {id} is not one of the anchors")]
    InsertNotAnchor {
        /// The id given.
        id: u32,
    },
    /// An inserted anchor has to be one wherever it is put, whatever comes before it.
    #[error("not_after and insert exclude each other")]
    InsertBarred,
    /// An anchor is to be inserted at the bound of a segment, and the policy does not say which.
    #[error("at_max_segment is insert, but the policy names no anchor to insert")]
    NothingToInsert,
    /// A segment would have more than M tokens, and the policy asks for an error then.
    #[error(
        "the token at position {pos} would be the last that a segment may have ({max_segment}), and it is no anchor"
    )]
    SegmentTooLong {
        /// Position of that token; neither it nor anything that came with it was consumed.
        pos: u32,
        /// M.
        max_segment: u32,
    },
    /// The next token would lie at or beyond the last position that this ring can hold.
    #[error("{tokens} tokens from position {pos} on exceed the limit of {limit} positions")]
    PositionLimit {
        /// Position of the first token refused; nothing was consumed.
        pos: u32,
        /// Tokens asked for.
        tokens: usize,
        /// [`RingParams::limit`].
        limit: u32,
    },
    /// A chunk's rows do not fit the buffers given for them.
    #[error("a chunk of {tokens} tokens exceeds the {capacity} rows there is room for")]
    ChunkTooLong {
        /// Tokens in the chunk.
        tokens: usize,
        /// Rows that fit.
        capacity: usize,
    },
    /// An undo to a position that was never reached, or whose slots may be overwritten by now.
    #[error("cannot go to position {pos} from {reached}: at most {in_flight} steps can be undone")]
    UndoTooFar {
        /// Position of the state asked for.
        pos: u32,
        /// The farthest position this ring has reached.
        reached: u32,
        /// Steps that can be undone.
        in_flight: u32,
    },
    /// A state whose counters contradict each other, so it is no state of this ring.
    #[error("the ring state at position {pos} contradicts itself")]
    BrokenState {
        /// Position of the state given.
        pos: u32,
    },
}
