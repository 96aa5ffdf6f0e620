//! What the cache holds and what it costs.

use crate::kernels::KvFormat;
use crate::kv::Ring;

/// What the cache holds and what it costs, for people and for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KvReport {
    /// Tokens consumed.
    pub seen: u32,
    /// Entries the next token can read.
    pub live: u32,
    /// The most entries after any token.
    pub peak_live: u32,
    /// How keys and values are kept.
    pub format: KvFormat,
    /// Bytes of the live entries over all layers.
    pub bytes_live: u64,
    /// Bytes of all slots over all layers, as planned.
    pub bytes_allocated: u64,
    /// Anchors consumed.
    pub anchors: u32,
    /// Anchors that only the segment bound made.
    pub forced_anchors: u32,
    /// Anchors let go by the bounds on number or distance.
    pub dropped_anchors: u32,
    /// Segments closed.
    pub segments: u32,
}

impl KvReport {
    pub(crate) fn new(ring: &Ring, entry_bytes: u64, format: KvFormat, bytes_allocated: u64) -> Self {
        let counts = ring.stats();
        Self {
            seen: counts.seen,
            live: counts.live,
            peak_live: counts.peak_live,
            format,
            bytes_live: u64::from(counts.live) * entry_bytes,
            bytes_allocated,
            anchors: counts.anchors,
            forced_anchors: counts.forced_anchors,
            dropped_anchors: counts.dropped_anchors,
            segments: counts.segments,
        }
    }
}
