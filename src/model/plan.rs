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
use crate::kernels::{KvFormat, Precision, WeightFormat, WeightLayout, choose};
use crate::kv::{KvError, Policy, RingLayout};
use crate::model_file::{Blocks, Config, LayerWeight, ModelFile, WeightName};

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
    /// A matrix that the precision has no whole blocks for.
    #[error(
        "the columns of {what} are {cols}, which the format {format} cuts into blocks of {block}; take f16"
    )]
    Blocks {
        /// The matrix.
        what: String,
        /// Its columns.
        cols: u32,
        /// The precision asked for.
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
    /// Keys and values of another format than the brute-force pass computes with.
    #[error(
        "the masked path keeps no cache, its keys and values are f32, not {kv}; take another path or f32"
    )]
    MaskedEntries {
        /// The format asked for.
        kv: &'static str,
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

/// Products that a model makes of one form, for who measures how they are made fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedProduct {
    /// `matvec` and `gated_mlp` for a decoded token, `matmul` for a prompt.
    pub op: &'static str,
    /// How the weights lie, or a part of them.
    pub layout: WeightLayout,
    /// Rows and columns of the matrix.
    pub shape: [u32; 2],
    /// How often a step makes it.
    pub uses: u32,
}

impl PlannedProduct {
    /// The products that `file` takes on a device of these capabilities with its weights in `format`.
    ///
    /// # Errors
    /// Something does not fit a binding of the device.
    pub fn of(file: &ModelFile, format: WeightFormat, device: &Capabilities) -> Result<Vec<Self>, PlanError> {
        Ok(WeightsPlan::new(&file.config, Precisions::of(file, format), device)?.products())
    }

    fn is_alike(&self, other: &Self) -> bool {
        (self.op, self.layout, self.shape) == (other.op, other.layout, other.shape)
    }
}

/// Where the matrices of a model are cut so that each part fits a binding.
#[derive(Clone, Debug)]
pub(crate) struct WeightsPlan {
    pub(crate) embedding: MatrixPlan,
    pub(crate) output: Option<MatrixPlan>,
    pub(crate) layers: Vec<LayerPlan>,
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
    pub(crate) parts: Vec<PartPlan>,
    /// Whether a bias (rows) lies beside it.
    pub(crate) biased: bool,
}

/// Consecutive rows of a matrix, in memory of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PartPlan {
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    pub(crate) layout: WeightLayout,
}

impl MatrixPlan {
    /// A matrix of `cols` columns out of weights with these rows and precisions, one below the other. It is cut where the layout changes
    /// and where a binding is full.
    fn new(
        label: &'static str,
        cols: u32,
        stacked: impl IntoIterator<Item = (u32, Precision)>,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let mut plan = Self { label, rows: 0, cols, parts: Vec::new(), biased: false };
        let mut alike: Vec<(u32, WeightLayout)> = Vec::new();
        for (rows, precision) in stacked {
            let layout = choose::weight_layout(precision, cols, device);
            let block = layout.run_cols();
            if !cols.is_multiple_of(block) {
                let (what, format) = (label.to_owned(), precision.name());
                return Err(PlanError::Blocks { what, cols, format, block });
            }
            match alike.last_mut() {
                Some((last, of)) if *of == layout => *last += rows,
                _ => alike.push((rows, layout)),
            }
        }
        for (rows, layout) in alike {
            let limit = device.max_binding_bytes;
            let most = layout.most_rows(cols, limit).min(rows);
            if most == 0 {
                let row_bytes = layout.bytes(layout.rows_unit(), cols);
                return Err(PlanError::RowTooLong { what: label.to_owned(), row_bytes, limit });
            }
            let cuts = (0..rows).step_by(most as usize);
            let first_row = plan.rows;
            plan.parts.extend(cuts.map(|cut| PartPlan {
                first_row: first_row + cut,
                rows: most.min(rows - cut),
                layout,
            }));
            plan.rows += rows;
        }
        Ok(plan)
    }

    fn with_bias(self, biased: bool) -> Self {
        Self { biased, ..self }
    }

    /// Whether another matrix is cut at the same rows into parts of the same layouts.
    fn lies_as(&self, other: &Self) -> bool {
        (self.cols, &self.parts) == (other.cols, &other.parts)
    }
}

/// What each weight of a model becomes on the device.
#[derive(Clone, Copy)]
pub struct Precisions<'a> {
    format: WeightFormat,
    file: Option<&'a ModelFile>,
}

impl<'a> Precisions<'a> {
    /// The weights of `file`, in `format`.
    pub fn of(file: &'a ModelFile, format: WeightFormat) -> Self {
        Self { format, file: Some(file) }
    }

    fn weight(self, name: WeightName) -> Precision {
        self.format.precision(self.file.and_then(|file| file.stored_dtype(name)))
    }

    /// Whether every matrix is kept in 32-bit floats.
    pub(crate) fn is_exact(self, config: &Config) -> bool {
        self.lines(config).iter().all(|line| line.precision == Precision::F32.name())
    }

    /// How many matrices of a model become what.
    fn lines(self, config: &Config) -> Vec<PrecisionLine> {
        let matrices: Vec<_> =
            WeightName::all(config).filter(WeightName::is_matrix).map(|name| self.weight(name)).collect();
        let line = |precision: Precision| PrecisionLine {
            precision: precision.name(),
            weights: matrices.iter().filter(|other| **other == precision).count(),
        };
        Precision::ALL.into_iter().map(line).filter(|line| line.weights > 0).collect()
    }

    /// Matrices that the file keeps in blocks and the device does not, because an adapter changes them.
    pub fn taken_out_of_blocks(self) -> usize {
        let Some(file) = self.file.filter(|_| self.format == WeightFormat::File) else { return 0 };
        let was_blocks =
            |name: &WeightName| file.weight(*name).is_some_and(|tensor| Blocks::of(tensor.dtype).is_some());
        WeightName::all(&file.config)
            .filter(|name| was_blocks(name) && self.weight(*name).blocks().is_none())
            .count()
    }
}

/// Those of a file that keeps floats.
impl From<WeightFormat> for Precisions<'_> {
    fn from(format: WeightFormat) -> Self {
        Self { format, file: None }
    }
}

impl WeightsPlan {
    pub(crate) fn new(
        config: &Config,
        precisions: Precisions<'_>,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let limit = device.max_binding_bytes;
        if config.head_dim > MAX_HEAD_DIM {
            return Err(PlanError::HeadTooWide { head_dim: config.head_dim, most: MAX_HEAD_DIM });
        }
        if let Some(table) = super::rope_table_requests(config).into_iter().find(|table| table.bytes > limit)
        {
            return Err(PlanError::RowTooLong { what: table.label, row_bytes: table.bytes, limit });
        }
        let matrix = |label, names: &[WeightName]| {
            let cols = names.first().map_or(0, |name| name.shape(config).1);
            let rows = names.iter().map(|name| (name.shape(config).0, precisions.weight(*name)));
            MatrixPlan::new(label, cols, rows, device)
        };
        let biases = config.biases;
        let layer = |layer| {
            let of = |label, weights: &[LayerWeight]| {
                matrix(
                    label,
                    &weights.iter().map(|weight| WeightName::Layer(layer, *weight)).collect::<Vec<_>>(),
                )
            };
            Ok(LayerPlan {
                qkv: of("qkv", &[LayerWeight::Q, LayerWeight::K, LayerWeight::V])?.with_bias(biases.qkv),
                o: of("attention output", &[LayerWeight::O])?.with_bias(biases.attention_output),
                gate: of("gate", &[LayerWeight::Gate])?.with_bias(biases.mlp),
                up: of("up", &[LayerWeight::Up])?.with_bias(biases.mlp),
                down: of("down", &[LayerWeight::Down])?.with_bias(biases.mlp),
            })
        };
        Ok(Self {
            embedding: matrix("token embedding", &[WeightName::TokenEmbedding])?,
            output: (!config.tied_embeddings).then(|| matrix("output", &[WeightName::Output])).transpose()?,
            layers: (0..config.n_layers).map(layer).collect::<Result<_, PlanError>>()?,
            config: config.clone(),
        })
    }

    /// The products that a decode step and a prompt are made of.
    fn products(&self) -> Vec<PlannedProduct> {
        let mut products = Vec::new();
        let mut add = |op, matrix: &MatrixPlan| {
            let mut layouts: Vec<_> = matrix.parts.iter().map(|part| part.layout).collect();
            layouts.dedup();
            for layout in layouts {
                let this = PlannedProduct { op, layout, shape: [matrix.rows, matrix.cols], uses: 1 };
                match products.iter_mut().find(|other: &&mut PlannedProduct| other.is_alike(&this)) {
                    Some(alike) => alike.uses += 1,
                    None => products.push(this),
                }
            }
        };
        for LayerPlan { qkv, o, gate, up, down } in &self.layers {
            [qkv, o, down].into_iter().for_each(|matrix| add("matvec", matrix));
            if gate.biased || !gate.lies_as(up) {
                [gate, up].into_iter().for_each(|matrix| add("matvec", matrix));
            } else {
                add("gated_mlp", gate);
            }
            [qkv, o, gate, up, down].into_iter().for_each(|matrix| add("matmul", matrix));
        }
        add("matvec", self.output.as_ref().unwrap_or(&self.embedding));
        products
    }

    pub(super) fn hidden(&self) -> u32 {
        self.config.hidden_size
    }

    /// Gains of queries and of keys, where the model normalizes them.
    pub(super) fn qk_norm_len(&self) -> Option<u32> {
        self.config.qk_norm.then_some(2 * self.config.head_dim)
    }

    /// Gains of norms after a block, where the model has such.
    pub(super) fn post_norm_len(&self) -> Option<u32> {
        self.config.post_norms.then_some(self.config.hidden_size)
    }

    pub(crate) fn layer_requests(&self, layer: (u32, &LayerPlan)) -> Vec<BufferRequest> {
        requests_of(|make| _ = LayerWeights::of(self, layer, make))
    }

    pub(crate) fn shared_requests(&self) -> Vec<BufferRequest> {
        requests_of(|make| _ = Weights::shared(self, make))
    }

    fn all_requests(&self) -> Vec<BufferRequest> {
        let layers = (0..).zip(&self.layers).flat_map(|layer| self.layer_requests(layer));
        let tables = super::rope_table_requests(&self.config);
        self.shared_requests().into_iter().chain(layers).chain(tables).collect()
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
    /// What a [`Chat`](crate::Chat) takes beside it, from its first question on: a second text, so that a turn can be taken back.
    pub undo_bytes: u64,
    /// Slots per layer: pinned, anchor ring, live ring.
    pub slots: [u32; 3],
    /// How the numbers of keys and values are kept.
    pub kv_format: KvFormat,
    /// Bytes of one cache entry over all layers.
    pub entry_bytes: u64,
    /// Parts the weights are split into by the binding limit.
    pub weight_buffers: usize,
    /// What the matrices become, the most precise first.
    pub precisions: Vec<PrecisionLine>,
}

/// The matrices of one precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrecisionLine {
    /// The name of the precision.
    pub precision: &'static str,
    /// How many weights of the file are kept so.
    pub weights: usize,
}

impl MemoryPlan {
    /// Plans `config` under `policy` for a device of these capabilities, without touching one.
    ///
    /// # Errors
    /// Something does not fit a binding of the device.
    pub fn new<'a>(
        config: &Config,
        precisions: impl Into<Precisions<'a>>,
        policy: &Policy,
        shape: SessionShape,
        device: &Capabilities,
    ) -> Result<Self, PlanError> {
        let precisions = precisions.into();
        let weights = WeightsPlan::new(config, precisions, device)?;
        let session = SessionPlan::new(config, policy, shape, device)?;
        let layout = RingLayout::new(policy, shape.in_flight)?;
        let weights_bytes = weights.total_bytes();
        let text_bytes = sum(&session.pool_requests) + sum(&session.requests);
        let session_bytes = sum(&session.scratch_requests) + text_bytes;
        Ok(Self {
            lines: vec![
                PlanLine { what: "weights", bytes: weights_bytes },
                PlanLine { what: "kv cache", bytes: session.kv_bytes },
                PlanLine { what: "working memory", bytes: session_bytes - session.kv_bytes },
            ],
            total_bytes: weights_bytes + session_bytes,
            undo_bytes: text_bytes,
            slots: [layout.sinks, layout.anchor_cap, layout.live_cap],
            kv_format: shape.kv,
            entry_bytes: entry_bytes(config, shape.kv),
            weight_buffers: weights.all_requests().len(),
            precisions: precisions.lines(config),
        })
    }
}

/// Bytes of K and V of one token over all layers.
pub(crate) fn entry_bytes(config: &Config, kv: KvFormat) -> u64 {
    let heads = config.heads();
    kv.bytes(heads.n_kv_heads, heads.head_dim) * 2 * u64::from(config.n_layers)
}
