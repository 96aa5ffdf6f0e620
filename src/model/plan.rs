//! The memory plan: every device buffer of a model and of a session, with its size, before any of them exists.
//!
//! Allocated bytes are a formula of the model's shape and of the policy's bounds (S, A, L, X); the length of the text does
//! not occur in it. A plan that does not fit the device's limits is refused here, with the setting that would fit.

use serde::Serialize;

use super::heads;
use crate::gpu::pipeline::WeightFormat;
use crate::gpu::{Buffer, BufferRequest, Readback};
use crate::kernels::attention::MAX_HEAD_DIM;
use crate::kv::{KvError, Policy, RingLayout, RingState, Row, Tag};
use crate::model_file::{Config, LayerWeight, WeightName};

/// A plan that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Not even the smallest piece that can be bound fits a binding.
    #[error("one piece of {what} is {row_bytes} bytes, the device binds at most {limit}")]
    RowTooLong {
        /// The matrix, of which a row is the smallest piece, or a table that cannot be cut.
        what: String,
        /// Bytes of that piece.
        row_bytes: u64,
        /// The device's binding limit.
        limit: u64,
    },
    /// A buffer that cannot be split is larger than a binding.
    #[error(
        "{what} takes {bytes} bytes, the device binds at most {limit}; the largest {setting} that fits is {most}"
    )]
    BufferTooLarge {
        /// The buffer.
        what: String,
        /// Its size.
        bytes: u64,
        /// The device's binding limit.
        limit: u64,
        /// The setting that decides its size.
        setting: &'static str,
        /// The largest value of that setting that fits.
        most: u64,
    },
    /// Heads wider than the attention kernels handle.
    #[error("head_dim is {head_dim}, the attention kernels handle at most {most}")]
    HeadTooWide {
        /// Columns of a head.
        head_dim: u32,
        /// The widest supported.
        most: u32,
    },
    /// The policy's numbers do not make a ring.
    #[error(transparent)]
    Policy(#[from] KvError),
}

/// Where the matrices of a model are cut so that each part fits a binding.
#[derive(Clone, Debug)]
pub(crate) struct WeightsPlan {
    pub(crate) format: WeightFormat,
    pub(crate) embedding: MatrixPlan,
    pub(crate) output: Option<MatrixPlan>,
    pub(crate) layer: LayerPlan,
    config: Config,
}

#[derive(Clone, Debug)]
pub(crate) struct LayerPlan {
    pub(crate) qkv: MatrixPlan,
    pub(crate) o: MatrixPlan,
    pub(crate) gate: MatrixPlan,
    pub(crate) up: MatrixPlan,
    pub(crate) down: MatrixPlan,
}

/// One matrix (rows, cols), stacked from one or more weights of the file.
#[derive(Clone, Debug)]
pub(crate) struct MatrixPlan {
    pub(crate) label: &'static str,
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    pub(crate) rows_per_part: u32,
    row_bytes: u64,
}

impl MatrixPlan {
    fn new(
        label: &'static str,
        rows: u32,
        cols: u32,
        format: WeightFormat,
        limit: u64,
    ) -> Result<Self, PlanError> {
        let row_bytes = u64::from(cols) * format.bytes();
        let rows_per_part = u32::try_from(limit / row_bytes).unwrap_or(u32::MAX).min(rows);
        if rows_per_part == 0 {
            return Err(PlanError::RowTooLong { what: label.to_owned(), row_bytes, limit });
        }
        Ok(Self { label, rows, cols, rows_per_part, row_bytes })
    }

    /// First row and number of rows of each part.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.rows)
            .step_by(self.rows_per_part as usize)
            .map(|first| (first, self.rows_per_part.min(self.rows - first)))
    }

    /// One buffer per part, labelled with the layer it belongs to.
    pub(crate) fn requests(&self, layer: Option<u32>) -> impl Iterator<Item = BufferRequest> + '_ {
        let place = layer.map_or_else(String::new, |layer| format!("layer {layer} "));
        self.parts().map(move |(first, rows)| {
            let label = format!("{place}{} rows {first}..{}", self.label, first + rows);
            BufferRequest::storage(label, u64::from(rows) * self.row_bytes)
        })
    }
}

impl WeightsPlan {
    pub(crate) fn new(config: &Config, format: WeightFormat, limit: u64) -> Result<Self, PlanError> {
        if config.head_dim > MAX_HEAD_DIM {
            return Err(PlanError::HeadTooWide { head_dim: config.head_dim, most: MAX_HEAD_DIM });
        }
        let table = super::rope_table_request(config);
        if table.bytes > limit {
            return Err(PlanError::RowTooLong { what: table.label, row_bytes: table.bytes, limit });
        }
        let heads = heads(config);
        let matrix = |label, rows, cols| MatrixPlan::new(label, rows, cols, format, limit);
        let (hidden, ffn) = (config.hidden_size, config.ffn_size);
        Ok(Self {
            format,
            embedding: matrix("token embedding", config.vocab_size, hidden)?,
            output: (!config.tied_embeddings)
                .then(|| matrix("output", config.vocab_size, hidden))
                .transpose()?,
            layer: LayerPlan {
                qkv: matrix("qkv", heads.qkv_dim(), hidden)?,
                o: matrix("attention output", hidden, heads.q_dim())?,
                gate: matrix("gate", ffn, hidden)?,
                up: matrix("up", ffn, hidden)?,
                down: matrix("down", hidden, ffn)?,
            },
            config: config.clone(),
        })
    }

    /// Rows of a gain are one vector of 32-bit floats in every format: they are few and precision matters.
    pub(crate) fn norm_request(&self, label: String) -> BufferRequest {
        BufferRequest::storage(label, u64::from(self.config.hidden_size) * 4)
    }

    pub(crate) fn layer_requests(&self, layer: u32) -> Vec<BufferRequest> {
        let plan = &self.layer;
        let mut requests = vec![
            self.norm_request(format!("layer {layer} attention norm")),
            self.norm_request(format!("layer {layer} feed-forward norm")),
        ];
        for matrix in [&plan.qkv, &plan.o, &plan.gate, &plan.up, &plan.down] {
            requests.extend(matrix.requests(Some(layer)));
        }
        requests
    }

    pub(crate) fn shared_requests(&self) -> Vec<BufferRequest> {
        let mut requests = vec![self.norm_request("output norm".to_owned())];
        requests.extend(self.embedding.requests(None));
        requests.extend(self.output.iter().flat_map(|output| output.requests(None)));
        requests
    }

    fn all_requests(&self) -> Vec<BufferRequest> {
        let layers = (0..self.config.n_layers).flat_map(|layer| self.layer_requests(layer));
        let table = super::rope_table_request(&self.config);
        self.shared_requests().into_iter().chain(layers).chain([table]).collect()
    }

    /// Bytes of device memory for the weights and the rotation table.
    pub(crate) fn total_bytes(&self) -> u64 {
        sum(&self.all_requests())
    }
}

/// Which weights of the file are stacked, in order, to make each matrix of a layer.
pub(crate) fn stacked(layer: u32, matrix: &str) -> Vec<WeightName> {
    let names: &[LayerWeight] = match matrix {
        "qkv" => &[LayerWeight::Q, LayerWeight::K, LayerWeight::V],
        "attention output" => &[LayerWeight::O],
        "gate" => &[LayerWeight::Gate],
        "up" => &[LayerWeight::Up],
        _ => &[LayerWeight::Down],
    };
    names.iter().map(|name| WeightName::Layer(layer, *name)).collect()
}

fn sum(requests: &[BufferRequest]) -> u64 {
    requests.iter().fold(0, |sum, request| sum.saturating_add(request.bytes))
}

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

/// Rows whose logits are computed at a time, if a binding holds as many.
const LOGIT_ROWS: u32 = 32;

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
        limit: u64,
    ) -> Result<Self, PlanError> {
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let heads = heads(config);
        let rows = u64::from(shape.chunk.max(1));
        let vocab_bytes = u64::from(config.vocab_size) * 4;
        let logit_rows = (limit / vocab_bytes).min(LOGIT_ROWS.into()).min(rows);
        if logit_rows == 0 {
            return Err(PlanError::RowTooLong { what: "logits".to_owned(), row_bytes: vocab_bytes, limit });
        }
        let slots = if shape.masked { 0 } else { u64::from(layout.slots()) };
        let slot_bytes = u64::from(heads.kv_dim()) * 4;
        let cache_bytes = slots * slot_bytes;
        if cache_bytes > limit {
            let what = "the cache of one layer".to_owned();
            let (setting, most) =
                ("number of slots (window, max-segment or ctx, and max-anchors)", limit / slot_bytes);
            return Err(PlanError::BufferTooLarge { what, bytes: cache_bytes, limit, setting, most });
        }
        let per_row = |label: &str, bytes: u64| (label.to_owned(), bytes);
        let floats = |n: u32| u64::from(n) * 4;
        let by_row = [
            per_row("tokens", 4),
            per_row("targets", 4),
            per_row("rows", size_of::<Row>() as u64),
            per_row("chunk anchors", 4),
            per_row("tags", if shape.masked { size_of::<Tag>() as u64 } else { 0 }),
            per_row("x", floats(config.hidden_size)),
            per_row("h", floats(config.hidden_size)),
            per_row("qkv", floats(heads.qkv_dim())),
            per_row("q", floats(heads.q_dim()) * 2),
            per_row("chunk k", floats(heads.kv_dim())),
            per_row("chunk v", floats(heads.kv_dim())),
            per_row("attended", floats(heads.q_dim())),
            per_row("gate", floats(config.ffn_size)),
            per_row("up", floats(config.ffn_size)),
            per_row("nll", 4),
            per_row("top", 4),
        ];
        let mut requests = Vec::new();
        for (label, row_bytes) in by_row {
            let bytes = rows * row_bytes;
            if bytes > limit {
                let setting =
                    if shape.masked { "number of tokens in one masked pass" } else { "prompt chunk" };
                return Err(PlanError::BufferTooLarge {
                    what: label,
                    bytes,
                    limit,
                    setting,
                    most: limit / row_bytes,
                });
            }
            requests.push(BufferRequest::storage(label, bytes));
        }
        requests.push(BufferRequest::storage("logits", logit_rows * vocab_bytes));
        requests.push(BufferRequest::storage("ring state", size_of::<RingState>() as u64));
        requests.push(BufferRequest::storage("anchor positions", u64::from(layout.anchor_cap) * 4));
        requests.push(BufferRequest::storage("anchor bits", u64::from(config.vocab_size.div_ceil(32)) * 4));
        requests.push(BufferRequest::readback("readback", vocab_bytes.max(rows * 8)));
        for layer in 0..config.n_layers {
            requests.push(BufferRequest::storage(format!("layer {layer} k cache"), cache_bytes));
            requests.push(BufferRequest::storage(format!("layer {layer} v cache"), cache_bytes));
        }
        let kv_bytes = cache_bytes * 2 * u64::from(config.n_layers);
        Ok(Self { requests, logit_rows: logit_rows as u32, kv_bytes })
    }
}

/// The device buffers of a session.
#[derive(Debug)]
pub(crate) struct SessionBuffers {
    pub(crate) tokens: Buffer,           // (chunk)
    pub(crate) targets: Buffer,          // (chunk)
    pub(crate) rows: Buffer,             // (chunk) Row
    pub(crate) chunk_anchors: Buffer,    // (chunk)
    pub(crate) tags: Buffer,             // (chunk) Tag, masked pass only
    pub(crate) x: Buffer,                // (chunk, hidden): the residual stream
    pub(crate) h: Buffer,                // (chunk, hidden): normalized
    pub(crate) qkv: Buffer,              // (chunk, qkv_dim)
    pub(crate) q: Buffer,                // (chunk, 2, q_dim)
    pub(crate) k_chunk: Buffer,          // (chunk, kv_dim)
    pub(crate) v_chunk: Buffer,          // (chunk, kv_dim)
    pub(crate) attended: Buffer,         // (chunk, q_dim)
    pub(crate) gate: Buffer,             // (chunk, ffn)
    pub(crate) up: Buffer,               // (chunk, ffn)
    pub(crate) nll: Buffer,              // (chunk)
    pub(crate) top: Buffer,              // (chunk)
    pub(crate) logits: Buffer,           // (logit_rows, vocab)
    pub(crate) state: Buffer,            // (1) RingState
    pub(crate) anchor_pos: Buffer,       // (anchor_cap)
    pub(crate) anchor_bits: Buffer,      // (vocab / 32)
    pub(crate) readback: Readback,       // (max(vocab, 2 chunk)) words
    pub(crate) caches: Vec<[Buffer; 2]>, // per layer k and v (slots, kv_dim)
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
            readback: Readback::new(next()?),
            caches: Vec::new(),
        };
        while let (Some(k), Some(v)) = (next(), next()) {
            named.caches.push([k, v]);
        }
        Some(named)
    }
}

/// One line of a printed plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanLine {
    /// What the memory is for.
    pub what: &'static str,
    /// How much of it.
    pub bytes: u64,
}

/// What a model and one session of it will take on a device, for `inspect` and for "will it fit".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Weights, cache, working memory.
    pub lines: Vec<PlanLine>,
    /// All of it.
    pub total_bytes: u64,
    /// Slots per layer: pinned, anchor ring, live ring.
    pub slots: [u32; 3],
    /// Bytes of one cache entry over all layers.
    pub entry_bytes: u64,
    /// Parts the weights are split into by the binding limit.
    pub weight_buffers: usize,
}

impl MemoryPlan {
    /// Plans `config` under `policy` without touching a device.
    ///
    /// # Errors
    /// Something does not fit a binding of `limit` bytes.
    pub fn new(
        config: &Config,
        format: WeightFormat,
        policy: &Policy,
        shape: SessionShape,
        limit: u64,
    ) -> Result<Self, PlanError> {
        let weights = WeightsPlan::new(config, format, limit)?;
        let session = SessionPlan::new(config, policy, shape, limit)?;
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let weights_bytes = weights.total_bytes();
        let session_bytes = sum(&session.requests);
        Ok(Self {
            lines: vec![
                PlanLine { what: "weights", bytes: weights_bytes },
                PlanLine { what: "kv cache", bytes: session.kv_bytes },
                PlanLine { what: "working memory", bytes: session_bytes - session.kv_bytes },
            ],
            total_bytes: weights_bytes + session_bytes,
            slots: [layout.sinks, layout.anchor_cap, layout.live_cap],
            entry_bytes: entry_bytes(config),
            weight_buffers: weights.all_requests().len(),
        })
    }
}

/// Bytes of K and V of one token over all layers.
pub(crate) fn entry_bytes(config: &Config) -> u64 {
    u64::from(heads(config).kv_dim()) * 4 * 2 * u64::from(config.n_layers)
}
