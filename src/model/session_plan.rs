//! The plan of a session: every device buffer of its texts, with its size, before any of them exists.

use super::named::{Make, requests_of};
use super::plan::PlanError;
use super::session_buffers::{Control, Scratch, ScratchShape, SharedScratch, Texts};
use crate::gpu::{Buffer, BufferRequest, Capabilities, Family, Readback};
use crate::kernels::attention;
use crate::kernels::emit::LoopState;
use crate::kernels::sample::RowSettings;
use crate::kernels::{CacheLayout, KvFormat, choose};
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
    /// Texts that share the memory of one pool, and may share a decode step.
    pub texts: u32,
    /// How the numbers of keys and values are kept.
    pub kv: KvFormat,
}

impl Default for SessionShape {
    /// One text that is read token by token.
    fn default() -> Self {
        Self { chunk: 1, in_flight: 1, masked: false, texts: 1, kv: KvFormat::F32 }
    }
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

/// The memory of a pool of texts and of a session in it, before any of it exists.
pub(crate) struct SessionPlan<'a> {
    config: &'a Config,
    device: &'a Capabilities,
    shape: SessionShape,
    layout: RingLayout,
    /// How keys and values lie.
    place: CacheLayout,
    /// Of what sessions of the same shape share.
    pub(crate) scratch_requests: Vec<BufferRequest>,
    /// Of the texts of a pool.
    pub(crate) pool_requests: Vec<BufferRequest>,
    /// Of what each session has of its own.
    pub(crate) requests: Vec<BufferRequest>,
    pub(crate) logit_rows: u32,
    /// Bytes of keys and values, of all texts.
    pub(crate) kv_bytes: u64,
}

impl<'a> SessionPlan<'a> {
    pub(crate) fn new(
        config: &'a Config,
        policy: &Policy,
        shape: SessionShape,
        device: &'a Capabilities,
    ) -> Result<Self, PlanError> {
        let limit = device.max_binding_bytes;
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let texts = u64::from(shape.texts.max(1));
        let vocab_bytes = floats(config.vocab_size);
        let logit_rows = (limit / vocab_bytes).min(LOGIT_ROWS.into()).min(shape.chunk.max(1).into());
        if logit_rows == 0 {
            return Err(PlanError::RowTooLong { what: "logits".to_owned(), row_bytes: vocab_bytes, limit });
        }
        if texts > logit_rows {
            return Err(PlanError::TooManyTexts { texts, most: logit_rows });
        }
        // The pass over a whole text is brute force, of which there is one implementation.
        let place = match (shape.masked, shape.kv) {
            (true, KvFormat::F32) => CacheLayout::F32Rows,
            (true, kv) => return Err(PlanError::MaskedEntries { kv: kv.name() }),
            (false, kv) => choose::cache_layout(kv, config.heads(), device),
        };
        let mut plan = Self {
            config,
            device,
            shape,
            layout,
            place,
            scratch_requests: Vec::new(),
            pool_requests: Vec::new(),
            requests: Vec::new(),
            logit_rows: logit_rows as u32,
            kv_bytes: 0,
        };
        let cache_bytes = plan.cache("").bytes;
        plan.kv_bytes = cache_bytes * 2 * u64::from(config.n_layers);
        let most_slots = place.most_rows(config.heads(), limit);
        if plan.slots() * texts > most_slots {
            let what = "the cache of one layer".to_owned();
            let (setting, most) = match most_slots / plan.slots() {
                0 => largest_setting(policy, plan.slots(), most_slots),
                most => ("number of texts in a pool", most),
            };
            let limit = place.most_bytes(limit);
            return Err(PlanError::BufferTooLarge { what, bytes: cache_bytes, limit, setting, most });
        }
        let logprobs = texts * logprobs_bytes(shape.in_flight);
        if logprobs > limit {
            let (what, bytes) = ("log-probabilities".to_owned(), logprobs);
            let (setting, most) = ("number of steps in flight", limit / (texts * logprobs_bytes(1)));
            return Err(PlanError::BufferTooLarge { what, bytes, limit, setting, most });
        }
        let mut fits = Ok(());
        plan.scratch_requests = requests_of(|make| fits = plan.scratch(make).map(drop));
        fits?;
        plan.pool_requests = requests_of(|make| _ = plan.pool(make));
        plan.requests = requests_of(|make| _ = plan.own(make));
        Ok(plan)
    }

    pub(crate) fn scratch_shape(&self) -> ScratchShape {
        let SessionShape { chunk, masked, kv, .. } = self.shape;
        ScratchShape { chunk, texts: self.texts(), masked, kv, splits: self.splits() }
    }

    /// A scratch made for this plan, to be shared.
    pub(crate) fn shared(&self, scratch: Scratch) -> SharedScratch {
        SharedScratch::new(scratch, self.scratch_shape(), &self.scratch_requests)
    }

    /// The plan's names without memory, for recordings that are looked at and not run.
    pub(crate) fn named(&self) -> Result<(Scratch, Texts, Control), PlanError> {
        let mut name = |request: BufferRequest| Buffer::planned(&request);
        Ok((self.scratch(&mut name)?, self.pool(&mut name).0, self.control(&mut name, self.texts())))
    }

    fn texts(&self) -> u32 {
        self.shape.texts.max(1)
    }

    /// Shares that a decode step may split the keys of a row into: as many as a full cache is worth, in the family that has such a kernel.
    fn splits(&self) -> u32 {
        let splits = match self.device.family {
            Family::Gpu => attention::splits(self.slots() as u32),
            Family::Software => 1,
        };
        // What does not fit a binding is done without.
        if self.parts_bytes(splits) <= self.device.max_binding_bytes { splits } else { 1 }
    }

    /// Bytes of what the shares of the keys of all rows of a step come to.
    fn parts_bytes(&self, splits: u32) -> u64 {
        if splits > 1 { attention::parts_bytes(self.texts(), self.config.heads(), splits) } else { 0 }
    }

    /// Slots of the cache of a layer, for one text.
    fn slots(&self) -> u64 {
        if self.shape.masked { 0 } else { self.layout.slots().into() }
    }

    /// Keys or values of a layer, of all texts.
    fn cache(&self, label: impl Into<String>) -> BufferRequest {
        let slots = u64::from(self.texts()) * self.slots();
        self.place.request(label, slots, self.config.heads())
    }

    /// Rows of a chunk.
    fn rows(&self, what: &str, row_bytes: u64, usage: RowUse) -> Result<BufferRequest, PlanError> {
        let rows = u64::from(self.shape.chunk.max(1));
        let limit = self.device.max_binding_bytes;
        // Each with the most bytes of its kind of memory.
        let (request, limit, most) = match usage {
            RowUse::Plain => (BufferRequest::storage(what, rows * row_bytes), limit & !15, None),
            RowUse::Inputs => (BufferRequest::inputs(what, rows * row_bytes), limit & !255, None),
            RowUse::Entries => {
                let (heads, place) = (self.config.heads(), self.place);
                let most = place.most_rows(heads, limit);
                (place.request(what, rows, heads), place.most_bytes(limit), Some(most))
            }
        };
        if request.bytes > limit {
            let setting =
                if self.shape.masked { "number of tokens in one masked pass" } else { "prompt chunk" };
            let most = most.or(limit.checked_div(row_bytes)).unwrap_or_default();
            return Err(PlanError::BufferTooLarge {
                what: what.to_owned(),
                bytes: request.bytes,
                limit,
                setting,
                most,
            });
        }
        Ok(request)
    }

    /// The one list of the scratch: each buffer by its name, of what `make` makes of its request.
    ///
    /// # Errors
    /// Rows of a chunk do not fit a binding; [`SessionPlan::new`] has seen to it.
    pub(crate) fn scratch(&self, make: Make<'_>) -> Result<Scratch, PlanError> {
        use RowUse::{Entries, Inputs, Plain};
        let Self { config, shape, .. } = self;
        let heads = config.heads();
        let (hidden, ffn) = (floats(config.hidden_size), floats(config.ffn_size));
        let vocab_bytes = floats(config.vocab_size);
        let tag_bytes = if shape.masked { size_of::<Tag>() as u64 } else { 0 };
        let mut rows = |what, row_bytes, usage| self.rows(what, row_bytes, usage).map(&mut *make);
        Ok(Scratch {
            tokens: rows("tokens", 4, Plain)?,
            targets: rows("targets", 4, Plain)?,
            rows: rows("rows", size_of::<Row>() as u64, Plain)?,
            chunk_anchors: rows("chunk anchors", 4, Plain)?,
            tags: rows("tags", tag_bytes, Plain)?,
            x: rows("x", hidden, Inputs)?,
            h: rows("h", hidden, Inputs)?,
            qkv: rows("qkv", floats(heads.qkv_dim()), Plain)?,
            q: rows("q", floats(heads.q_dim()) * 2, Inputs)?,
            k_chunk: rows("chunk k", self.place.entry_bytes(heads), Entries)?,
            v_chunk: rows("chunk v", self.place.entry_bytes(heads), Entries)?,
            attended: rows("attended", floats(heads.q_dim()), Inputs)?,
            gate: rows("gate", ffn, Inputs)?,
            up: rows("up", ffn, Plain)?,
            nll: rows("nll", 4, Plain)?,
            top: rows("top", 4, Plain)?,
            parts: make(BufferRequest::storage("attention parts", self.parts_bytes(self.splits()))),
            logits: make(BufferRequest::storage("logits", u64::from(self.logit_rows) * vocab_bytes)),
            scores: make(BufferRequest::storage("scores", u64::from(self.texts()) * vocab_bytes)),
        })
    }

    /// The one list of what the texts of a pool are. Where they are several, also what a loop over all of them is told and hands out.
    pub(crate) fn pool(&self, make: Make<'_>) -> (Texts, Option<Control>) {
        let Self { config, shape, layout, .. } = self;
        let texts = u64::from(self.texts());
        let recent_bytes = u64::from(recent_cap(shape.in_flight)) * 4;
        let anchors_bytes = u64::from(layout.anchor_cap) * 4;
        let mut cache = |layer, what| make(self.cache(format!("layer {layer} {what} cache")));
        let caches = (0..config.n_layers).map(|layer| [cache(layer, "k"), cache(layer, "v")]).collect();
        let of_all = Texts {
            caches,
            last: make(BufferRequest::inputs("last hidden state", texts * floats(config.hidden_size))),
            state: make(BufferRequest::storage("ring state", texts * size_of::<RingState>() as u64)),
            anchor_pos: make(BufferRequest::storage("anchor positions", texts * anchors_bytes)),
            recent: make(BufferRequest::storage("recent tokens", texts * recent_bytes)),
            anchor_bits: make(BufferRequest::storage("anchor bits", 2 * self.vocab_bits())),
        };
        let control = (texts > 1).then(|| self.control(make, self.texts()));
        (of_all, control)
    }

    /// The one list of what a session has of its own: its decode loop, and where its results are read.
    pub(crate) fn own(&self, make: Make<'_>) -> (Control, Readback) {
        let read_bytes = floats(self.config.vocab_size).max(u64::from(self.shape.chunk.max(1)) * 8);
        let control = self.control(make, 1);
        (control, Readback::new(make(BufferRequest::readback("readback", read_bytes))))
    }

    /// The one list of a decode loop over `rows` texts.
    fn control(&self, make: Make<'_>, rows: u32) -> Control {
        let settings_bytes = RowSettings::bytes(rows);
        let (rows, in_flight) = (u64::from(rows), self.shape.in_flight);
        let state_bytes = rows * size_of::<LoopState>() as u64;
        let (outbox_bytes, logprobs_bytes) =
            (rows * outbox_bytes(in_flight), rows * logprobs_bytes(in_flight));
        let of_submit = state_bytes + outbox_bytes + logprobs_bytes;
        Control {
            token: make(BufferRequest::storage("token", rows * 4)),
            settings: make(BufferRequest::storage("sampler settings", settings_bytes)),
            stop_bits: make(BufferRequest::storage("stop bits", rows * self.vocab_bits())),
            exempt_bits: make(BufferRequest::storage("exempt bits", rows * self.vocab_bits())),
            bias: make(BufferRequest::storage("logit bias", rows * floats(self.config.vocab_size))),
            loop_state: make(BufferRequest::storage("loop state", state_bytes)),
            outbox: make(BufferRequest::storage("outbox", outbox_bytes)),
            logprobs: make(BufferRequest::storage("log-probabilities", logprobs_bytes)),
            reads: (0..SUBMITS)
                .map(|read| make(BufferRequest::readback(format!("readback of submit {read}"), of_submit)))
                .map(Readback::new)
                .collect(),
        }
    }

    /// Bytes of a bit for each token of the vocabulary.
    fn vocab_bits(&self) -> u64 {
        u64::from(self.config.vocab_size.div_ceil(32)) * 4
    }
}

/// Bytes of `n` 32-bit floats.
fn floats(n: u32) -> u64 {
    u64::from(n) * 4
}
