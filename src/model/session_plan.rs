//! The plan of a session: every device buffer of one text, with its size, before any of them exists.

use super::plan::PlanError;
use crate::gpu::{Buffer, BufferRequest, Capabilities, Readback};
use crate::kernels::choose::{self, CacheLayout};
use crate::kernels::emit::LoopState;
use crate::kv::{AtMaxSegment, Policy, RingLayout, RingState, Row, Tag};
use crate::model_file::Config;

/// What decides the size of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionShape {
    /// Most tokens in one forward pass: the prompt chunk.
    pub chunk: u32,
    /// X: steps that may be in flight, and so be undone.
    pub in_flight: u32,
    /// No cache; all tokens in one chunk under the brute-force kernel.
    pub masked: bool,
}

/// Submits of the decode loop under way at a time.
pub(crate) const SUBMITS: usize = 2;
/// The farthest back that a penalty looks, in tokens.
pub(crate) const RECENT: u32 = crate::sampling::MAX_PENALTY_LAST_N;

/// Places for recent tokens: those a penalty looks at, and as many as may be undone.
pub(crate) fn recent_cap(in_flight: u32) -> u32 {
    RECENT + in_flight
}

/// One token for each step that may be under way.
pub(crate) fn outbox_bytes(in_flight: u32) -> u64 {
    u64::from(in_flight) * 4
}

/// Words of the log-probabilities of one token.
pub(crate) const LOGPROB_WORDS: u32 = crate::kernels::top_logprobs::ENTRY_WORDS;

fn logprobs_bytes(in_flight: u32) -> u64 {
    u64::from(in_flight) * u64::from(LOGPROB_WORDS) * 4
}

/// Of a policy that takes `slots` slots where `most` fit: the setting that takes most of them, and its largest value that fits, all
/// others being as they are. Where no single one can be lowered enough, the slots themselves.
fn largest_setting(policy: &Policy, slots: u64, most: u64) -> (&'static str, u64) {
    let (window, segment) = (policy.window, if policy.seg_rule { policy.max_segment } else { 0 });
    let live = |value: u32, other: u32| if value > other { (value, other) } else { (0, 0) };
    let anchors = if policy.has_anchors() { policy.max_anchors } else { 0 };
    // `full` without a window of its own sees its whole capacity.
    let window_name = if policy.limit == Some(policy.window) { "ctx" } else { "window" };
    let shortest = if policy.at_max_segment == AtMaxSegment::Insert { 2 } else { 1 };
    // Each with the value below which lowering it frees nothing, or is not allowed.
    let settings = [
        (window_name, live(window, segment.max(1))),
        ("max-segment", live(segment, window.max(shortest))),
        ("max-anchors", (anchors, 1)),
        ("sinks", (policy.sinks, 0)),
    ];
    let excess = slots - most;
    settings
        .into_iter()
        .map(|(name, (value, least))| (name, u64::from(value), u64::from(least)))
        .filter(|(_, value, least)| *value >= least + excess)
        .max_by_key(|(_, value, _)| *value)
        .map_or(("number of slots", most), |(name, value, _)| (name, value - excess))
}

/// Rows whose logits are computed at a time, if a binding holds as many.
const LOGIT_ROWS: u32 = 32;

/// What the rows of a chunk are to the kernels that read them.
enum RowUse {
    /// Nothing special.
    Plain,
    /// Inputs of a product, or queries, which a kernel may bind as a uniform.
    Inputs,
    /// Keys or values, in the layout of the cache.
    Entries,
}

/// The buffers of one session, in the order [`SessionBuffers::new`] takes them.
pub(crate) struct SessionPlan {
    pub(crate) requests: Vec<BufferRequest>,
    pub(crate) logit_rows: u32,
    pub(crate) kv_bytes: u64,
}

impl SessionPlan {
    pub(crate) fn new(
        config: &Config,
        policy: &Policy,
        shape: SessionShape,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let limit = device.max_binding_bytes;
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let heads = config.heads();
        let rows = u64::from(shape.chunk.max(1));
        let vocab_bytes = u64::from(config.vocab_size) * 4;
        let logit_rows = (limit / vocab_bytes).min(LOGIT_ROWS.into()).min(rows);
        if logit_rows == 0 {
            return Err(PlanError::RowTooLong { what: "logits".to_owned(), row_bytes: vocab_bytes, limit });
        }
        let slots = if shape.masked { 0 } else { u64::from(layout.slots()) };
        // The pass over a whole text is brute force, of which there is one implementation.
        let place = if shape.masked { CacheLayout::Rows } else { choose::cache_layout(heads, device) };
        let cache = |label| place.request(label, slots, heads.kv_dim());
        let cache_bytes = cache(String::new()).bytes;
        let most_slots = place.most_rows(heads.kv_dim(), limit);
        if slots > most_slots {
            let what = "the cache of one layer".to_owned();
            let (setting, most) = largest_setting(policy, slots, most_slots);
            let limit = place.most_bytes(limit);
            return Err(PlanError::BufferTooLarge { what, bytes: cache_bytes, limit, setting, most });
        }
        if logprobs_bytes(shape.in_flight) > limit {
            let (what, bytes) = ("log-probabilities".to_owned(), logprobs_bytes(shape.in_flight));
            let (setting, most) = ("number of steps in flight", limit / logprobs_bytes(1));
            return Err(PlanError::BufferTooLarge { what, bytes, limit, setting, most });
        }
        let floats = |n: u32| u64::from(n) * 4;
        let plain = |label: &str, bytes: u64| (label.to_owned(), bytes, RowUse::Plain);
        let inputs = |label: &str, columns: u32| (label.to_owned(), floats(columns), RowUse::Inputs);
        let entries = |label: &str| (label.to_owned(), floats(heads.kv_dim()), RowUse::Entries);
        let by_row = [
            plain("tokens", 4),
            plain("targets", 4),
            plain("rows", size_of::<Row>() as u64),
            plain("chunk anchors", 4),
            plain("tags", if shape.masked { size_of::<Tag>() as u64 } else { 0 }),
            plain("x", floats(config.hidden_size)),
            inputs("h", config.hidden_size),
            plain("qkv", floats(heads.qkv_dim())),
            inputs("q", heads.q_dim() * 2),
            entries("chunk k"),
            entries("chunk v"),
            inputs("attended", heads.q_dim()),
            inputs("gate", config.ffn_size),
            plain("up", floats(config.ffn_size)),
            plain("nll", 4),
            plain("top", 4),
        ];
        let mut requests = Vec::new();
        for (what, row_bytes, usage) in by_row {
            // Each with the most bytes of its kind of memory.
            let label = what.clone();
            let (request, limit, most) = match usage {
                RowUse::Plain => (BufferRequest::storage(label, rows * row_bytes), limit & !15, None),
                RowUse::Inputs => (BufferRequest::inputs(label, rows * row_bytes), limit & !255, None),
                RowUse::Entries => {
                    let most = place.most_rows(heads.kv_dim(), limit);
                    (place.request(label, rows, heads.kv_dim()), place.most_bytes(limit), Some(most))
                }
            };
            if request.bytes > limit {
                let setting =
                    if shape.masked { "number of tokens in one masked pass" } else { "prompt chunk" };
                let most = most.or(limit.checked_div(row_bytes)).unwrap_or_default();
                return Err(PlanError::BufferTooLarge { what, bytes: request.bytes, limit, setting, most });
            }
            requests.push(request);
        }
        requests.push(BufferRequest::storage("logits", logit_rows * vocab_bytes));
        requests.push(BufferRequest::storage("ring state", size_of::<RingState>() as u64));
        requests.push(BufferRequest::storage("anchor positions", u64::from(layout.anchor_cap) * 4));
        let vocab_bits = u64::from(config.vocab_size.div_ceil(32)) * 4;
        requests.push(BufferRequest::storage("anchor bits", 2 * vocab_bits));
        requests.push(BufferRequest::storage("stop bits", vocab_bits));
        requests.push(BufferRequest::storage("loop state", size_of::<LoopState>() as u64));
        requests.push(BufferRequest::storage("outbox", outbox_bytes(shape.in_flight)));
        requests.push(BufferRequest::storage("recent tokens", u64::from(recent_cap(shape.in_flight)) * 4));
        requests.push(BufferRequest::storage("scores", vocab_bytes));
        requests.push(BufferRequest::storage("logit bias", vocab_bytes));
        requests.push(BufferRequest::storage("log-probabilities", logprobs_bytes(shape.in_flight)));
        requests.push(BufferRequest::readback("readback", vocab_bytes.max(rows * 8)));
        for read in 0..SUBMITS {
            let bytes = size_of::<LoopState>() as u64
                + outbox_bytes(shape.in_flight)
                + logprobs_bytes(shape.in_flight);
            requests.push(BufferRequest::readback(format!("readback of submit {read}"), bytes));
        }
        for layer in 0..config.n_layers {
            requests.push(cache(format!("layer {layer} k cache")));
            requests.push(cache(format!("layer {layer} v cache")));
        }
        let kv_bytes = cache_bytes * 2 * u64::from(config.n_layers);
        Ok(Self { requests, logit_rows: logit_rows as u32, kv_bytes })
    }
}

/// The device buffers of a session.
#[derive(Debug)]
pub(crate) struct SessionBuffers {
    pub(crate) tokens: Buffer,              // (chunk)
    pub(crate) targets: Buffer,             // (chunk)
    pub(crate) rows: Buffer,                // (chunk) Row
    pub(crate) chunk_anchors: Buffer,       // (chunk)
    pub(crate) tags: Buffer,                // (chunk) Tag, masked pass only
    pub(crate) x: Buffer,                   // (chunk, hidden): the residual stream
    pub(crate) h: Buffer,                   // (chunk, hidden): normalized
    pub(crate) qkv: Buffer,                 // (chunk, qkv_dim)
    pub(crate) q: Buffer,                   // (chunk, 2, q_dim)
    pub(crate) k_chunk: Buffer,             // (chunk, kv_dim)
    pub(crate) v_chunk: Buffer,             // (chunk, kv_dim)
    pub(crate) attended: Buffer,            // (chunk, q_dim)
    pub(crate) gate: Buffer,                // (chunk, ffn)
    pub(crate) up: Buffer,                  // (chunk, ffn)
    pub(crate) nll: Buffer,                 // (chunk)
    pub(crate) top: Buffer,                 // (chunk)
    pub(crate) logits: Buffer,              // (logit_rows, vocab)
    pub(crate) state: Buffer,               // (1) RingState
    pub(crate) anchor_pos: Buffer,          // (anchor_cap)
    pub(crate) anchor_bits: Buffer,         // (2 * vocab / 32)
    pub(crate) stop_bits: Buffer,           // (vocab / 32)
    pub(crate) loop_state: Buffer,          // (1) LoopState
    pub(crate) outbox: Buffer,              // (in_flight)
    pub(crate) recent: Buffer,              // (RECENT + in_flight)
    pub(crate) scores: Buffer,              // (vocab): logits after bias and penalties
    pub(crate) bias: Buffer,                // (vocab)
    pub(crate) logprobs: Buffer,            // (in_flight, top_logprobs::ENTRY_WORDS)
    pub(crate) readback: Readback,          // (max(vocab, 2 chunk)) words
    pub(crate) submit_reads: Vec<Readback>, // SUBMITS of LoopState, outbox, log-probabilities
    pub(crate) caches: Vec<[Buffer; 2]>,    // per layer k and v (slots, kv_dim)
}

impl SessionBuffers {
    /// Gives the buffers made for [`SessionPlan::requests`] their names; `None` if the two do not belong together.
    pub(crate) fn new(buffers: Vec<Buffer>) -> Option<Self> {
        let mut buffers = buffers.into_iter();
        let mut next = || buffers.next();
        let mut named = Self {
            tokens: next()?,
            targets: next()?,
            rows: next()?,
            chunk_anchors: next()?,
            tags: next()?,
            x: next()?,
            h: next()?,
            qkv: next()?,
            q: next()?,
            k_chunk: next()?,
            v_chunk: next()?,
            attended: next()?,
            gate: next()?,
            up: next()?,
            nll: next()?,
            top: next()?,
            logits: next()?,
            state: next()?,
            anchor_pos: next()?,
            anchor_bits: next()?,
            stop_bits: next()?,
            loop_state: next()?,
            outbox: next()?,
            recent: next()?,
            scores: next()?,
            bias: next()?,
            logprobs: next()?,
            readback: Readback::new(next()?),
            submit_reads: (0..SUBMITS).map(|_| next().map(Readback::new)).collect::<Option<_>>()?,
            caches: Vec::new(),
        };
        while let (Some(k), Some(v)) = (next(), next()) {
            named.caches.push([k, v]);
        }
        Some(named)
    }
}
