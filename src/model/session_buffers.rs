//! The device memory of a session, by name and by lifetime. Shapes stand beside the names.

use crate::gpu::{Buffer, Readback};

/// Intermediate results of a pass. Of them only the last hidden state outlives it.
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
    pub(crate) gate: Buffer,          // (chunk, ffn)
    pub(crate) up: Buffer,            // (chunk, ffn)
    pub(crate) nll: Buffer,           // (chunk)
    pub(crate) top: Buffer,           // (chunk)
    pub(crate) logits: Buffer,        // (logit_rows, vocab)
    pub(crate) scores: Buffer,        // (vocab): logits after bias and penalties
}

/// What one text is.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) state: Buffer,            // (1) RingState
    pub(crate) anchor_pos: Buffer,       // (anchor_cap)
    pub(crate) recent: Buffer,           // (RECENT + in_flight)
    pub(crate) caches: Vec<[Buffer; 2]>, // per layer k and v (slots, kv_dim)
}

/// What the decode loop is told, and what it hands out.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) anchor_bits: Buffer, // (2 * vocab / 32)
    pub(crate) stop_bits: Buffer,   // (vocab / 32)
    pub(crate) bias: Buffer,        // (vocab)
    pub(crate) loop_state: Buffer,  // (1) LoopState
    pub(crate) outbox: Buffer,      // (in_flight)
    pub(crate) logprobs: Buffer,    // (in_flight, top_logprobs::ENTRY_WORDS)
}

/// All of it.
#[derive(Debug)]
pub(crate) struct SessionBuffers {
    pub(crate) scratch: Scratch,
    pub(crate) text: Text,
    pub(crate) control: Control,
    pub(crate) readback: Readback,          // (max(vocab, 2 chunk)) words
    pub(crate) submit_reads: Vec<Readback>, // SUBMITS of LoopState, outbox, log-probabilities
}
