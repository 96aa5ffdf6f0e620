//! The memory plan: every device buffer of a model and of a session, with its size, before any of them exists.
//!
//! Allocated bytes are a formula of the model's shape and of the policy's bounds (S, A, L, X); the length of the text does
//! not occur in it. A plan that does not fit the device's limits is refused here, with the setting that would fit.

use serde::Serialize;

use super::named::requests_of;
use super::session_plan::{SessionPlan, SessionShape};
use super::weights::{LayerWeights, Weights};
use crate::gpu::{BufferRequest, Capabilities};
use crate::kernels::attention::MAX_HEAD_DIM;
use crate::kernels::{WeightFormat, WeightLayout, choose};
use crate::kv::{KvError, Policy, RingLayout};
use crate::model_file::Config;

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
    /// A matrix that the format has no whole blocks for.
    #[error(
        "the columns of {what} are {cols}, which the format {format} cuts into blocks of {block}; take f16"
    )]
    Blocks {
        /// The matrix.
        what: String,
        /// Its columns.
        cols: u32,
        /// The format asked for.
        format: &'static str,
        /// Columns of a block.
        block: u32,
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
    /// More texts in a pool than a decode step has rows for.
    #[error("a pool of {texts} texts is more than a decode step can go on with, which is {most} here")]
    TooManyTexts {
        /// Texts asked for.
        texts: u64,
        /// Rows of logits: 32 at most, the prompt chunk, or what a binding holds.
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
    pub(crate) layout: WeightLayout,
    pub(crate) rows_per_part: u32,
    /// Whether a bias (rows) lies beside it.
    pub(crate) biased: bool,
}

impl MatrixPlan {
    fn new(
        label: &'static str,
        rows: u32,
        cols: u32,
        format: WeightFormat,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let layout = choose::weight_layout(format, cols, device);
        let (limit, block) = (device.max_binding_bytes, layout.columns_unit());
        if !cols.is_multiple_of(block) {
            return Err(PlanError::Blocks { what: label.to_owned(), cols, format: format.name(), block });
        }
        let rows_per_part = layout.most_rows(cols, limit).min(rows);
        if rows_per_part == 0 {
            let row_bytes = layout.bytes(layout.rows_unit(), cols);
            return Err(PlanError::RowTooLong { what: label.to_owned(), row_bytes, limit });
        }
        Ok(Self { label, rows, cols, layout, rows_per_part, biased: false })
    }

    /// First row and number of rows of each part.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..self.rows)
            .step_by(self.rows_per_part as usize)
            .map(|first| (first, self.rows_per_part.min(self.rows - first)))
    }

    fn with_bias(self, biased: bool) -> Self {
        Self { biased, ..self }
    }
}

impl WeightsPlan {
    pub(crate) fn new(
        config: &Config,
        format: WeightFormat,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let limit = device.max_binding_bytes;
        if config.head_dim > MAX_HEAD_DIM {
            return Err(PlanError::HeadTooWide { head_dim: config.head_dim, most: MAX_HEAD_DIM });
        }
        let table = super::rope_table_request(config);
        if table.bytes > limit {
            return Err(PlanError::RowTooLong { what: table.label, row_bytes: table.bytes, limit });
        }
        let heads = config.heads();
        let matrix = |label, rows, cols| MatrixPlan::new(label, rows, cols, format, device);
        let (hidden, ffn, biases) = (config.hidden_size, config.ffn_size, config.biases);
        Ok(Self {
            embedding: matrix("token embedding", config.vocab_size, hidden)?,
            output: (!config.tied_embeddings)
                .then(|| matrix("output", config.vocab_size, hidden))
                .transpose()?,
            layer: LayerPlan {
                qkv: matrix("qkv", heads.qkv_dim(), hidden)?.with_bias(biases.qkv),
                o: matrix("attention output", hidden, heads.q_dim())?.with_bias(biases.attention_output),
                gate: matrix("gate", ffn, hidden)?.with_bias(biases.mlp),
                up: matrix("up", ffn, hidden)?.with_bias(biases.mlp),
                down: matrix("down", hidden, ffn)?.with_bias(biases.mlp),
            },
            config: config.clone(),
        })
    }

    pub(super) fn hidden(&self) -> u32 {
        self.config.hidden_size
    }

    /// Gains of queries and of keys, where the model normalizes them.
    pub(super) fn qk_norm_len(&self) -> Option<u32> {
        self.config.qk_norm.then_some(2 * self.config.head_dim)
    }

    pub(crate) fn layer_requests(&self, layer: u32) -> Vec<BufferRequest> {
        requests_of(|make| _ = LayerWeights::of(self, layer, make))
    }

    pub(crate) fn shared_requests(&self) -> Vec<BufferRequest> {
        requests_of(|make| _ = Weights::shared(self, make))
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

/// Gains and biases are 32-bit floats in every format: they are few and precision matters.
pub(super) fn vector_request(label: String, len: u32) -> BufferRequest {
    BufferRequest::storage(label, u64::from(len) * 4)
}

pub(super) fn sum(requests: &[BufferRequest]) -> u64 {
    requests.iter().fold(0, |sum, request| sum.saturating_add(request.bytes))
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
    /// Plans `config` under `policy` for a device of these capabilities, without touching one.
    ///
    /// # Errors
    /// Something does not fit a binding of the device.
    pub fn new(
        config: &Config,
        format: WeightFormat,
        policy: &Policy,
        shape: SessionShape,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let weights = WeightsPlan::new(config, format, device)?;
        let session = SessionPlan::new(config, policy, shape, device)?;
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let weights_bytes = weights.total_bytes();
        let session_bytes = [&session.scratch_requests, &session.pool_requests, &session.requests]
            .map(|some| sum(some))
            .iter()
            .sum::<u64>();
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
    u64::from(config.heads().kv_dim()) * 4 * 2 * u64::from(config.n_layers)
}
