//! The device memory of texts, by name and by lifetime. Shapes stand beside the names.

use std::ops::Deref;
use std::sync::Mutex;

use crate::gpu::{Buffer, BufferRequest, Readback};
use crate::kernels::KvFormat;

/// Intermediate results of a pass. Nothing in them outlives its submit.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) tokens: Buffer,        // (chunk)
    pub(crate) targets: Buffer,       // (chunk)
    pub(crate) rows: Buffer,          // (chunk) Row
    pub(crate) chunk_anchors: Buffer, // (chunk)
    pub(crate) tags: Buffer,          // (chunk) Tag, masked pass only
    pub(crate) x: Buffer,             // (chunk, hidden): the residual stream
    pub(crate) h: Buffer,             // (chunk, hidden): normalized
    pub(crate) qkv: Buffer,           // (chunk, qkv_dim)
    pub(crate) q: Buffer,             // (chunk, 2, q_dim)
    pub(crate) k_chunk: Buffer,       // (chunk, kv_dim)
    pub(crate) v_chunk: Buffer,       // (chunk, kv_dim)
    pub(crate) attended: Buffer,      // (chunk, q_dim)
    pub(crate) parts: Buffer,         // (texts, n_heads, splits, head_dim + 2), if keys are ever split
    pub(crate) gate: Buffer,          // (chunk, ffn)
    pub(crate) up: Buffer,            // (chunk, ffn)
    pub(crate) nll: Buffer,           // (chunk)
    pub(crate) top: Buffer,           // (chunk)
    pub(crate) logits: Buffer,        // (logit_rows, vocab)
    pub(crate) scores: Buffer,        // (texts, vocab): logits after bias and penalties
}

/// What decides the size of the scratch of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScratchShape {
    /// Most rows of a pass.
    pub(crate) chunk: u32,
    /// Texts of a decode step.
    pub(crate) texts: u32,
    /// Whether a pass is masked.
    pub(crate) masked: bool,
    /// How the keys and values of a chunk are kept.
    pub(crate) kv: KvFormat,
    /// Shares that a decode step may split the keys of a row into; 1 where it never does.
    pub(crate) splits: u32,
}

impl ScratchShape {
    /// Whether a scratch of this shape is one for sessions of another: of the same passes, and of no more texts and splits.
    pub(crate) fn serves(self, other: Self) -> bool {
        let Self { texts, splits, .. } = other;
        self.texts >= texts && self.splits >= splits && Self { texts, splits, ..self } == other
    }
}

/// The scratch that all sessions of one shape share.
#[derive(Debug)]
pub(crate) struct SharedScratch {
    scratch: Scratch,
    pub(crate) shape: ScratchShape,
    pub(crate) bytes: u64,
    /// Whose turn it is.
    pub(crate) in_use: Mutex<()>,
}

impl SharedScratch {
    pub(crate) fn new(scratch: Scratch, shape: ScratchShape, requests: &[BufferRequest]) -> Self {
        let bytes = requests.iter().map(|request| request.bytes).sum();
        Self { scratch, shape, bytes, in_use: Mutex::new(()) }
    }
}

impl Deref for SharedScratch {
    type Target = Scratch;

    fn deref(&self) -> &Scratch {
        &self.scratch
    }
}

/// What texts are, each at its place of the pool, and the policy that they share.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) last: Buffer,  // (texts, hidden): the last hidden state of what was appended
    pub(crate) state: Buffer, // (texts) RingState
    pub(crate) anchor_pos: Buffer, // (texts, anchor_cap)
    pub(crate) recent: Buffer, // (texts, RECENT + in_flight)
    pub(crate) anchor_bits: Buffer, // (2 * vocab / 32)
    pub(crate) caches: Vec<[Buffer; 2]>, // per layer k and v (texts, slots, kv_dim)
}

/// What a decode loop is told, and what it hands out. A row is one text that it goes on with.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) token: Buffer,        // (rows): what the next step consumes
    pub(crate) settings: Buffer,     // (rows) RowSettings
    pub(crate) stop_bits: Buffer,    // (rows, vocab / 32)
    pub(crate) exempt_bits: Buffer,  // (rows, vocab / 32), of the rows that have penalties
    pub(crate) bias: Buffer,         // (rows, vocab), of the rows that have one
    pub(crate) loop_state: Buffer,   // (rows) LoopState
    pub(crate) outbox: Buffer,       // (rows, in_flight)
    pub(crate) logprobs: Buffer,     // (rows, in_flight, top_logprobs::ENTRY_WORDS)
    pub(crate) reads: Vec<Readback>, // SUBMITS of LoopState, outbox, log-probabilities
}

/// What a pass is recorded over.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'a> {
    pub(crate) scratch: &'a Scratch,
    pub(crate) texts: &'a Texts,
    pub(crate) control: &'a Control,
}
