//! From a model file to the device: read a piece, convert it, upload it, forget it.
//!
//! Host memory stays bounded by one piece whatever the size of the model, and the same code serves a file on disk and
//! bytes in a browser.

use std::ops::Range;

use super::named::{Make, handed_out};
use super::plan::{LayerPlan, MatrixPlan, PartPlan, PlanError, WeightsPlan, vector_request};
use crate::gpu::{Buffer, BufferRequest, Gpu, GpuError};
use crate::kernels::{Precision, Unfit, Weight, WeightPart};
use crate::model_file::{Block, Blocks, Config, LayerWeight, ModelFile, ModelFileError, WeightName};

/// Weights converted at a time, in elements (16 MiB of 32-bit floats).
const PIECE_ELEMENTS: u64 = 4 << 20;
/// Bytes uploaded before the device is waited for, so that its staging memory stays bounded.
const FLUSH_BYTES: u64 = 64 << 20;

/// Why a model did not load.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A weight that the format cannot hold.
    #[error("{file}: tensor {tensor:?} holds {value}, which {format} cannot; load it with dtype f32")]
    Unfit {
        /// Name of the file or folder.
        file: String,
        /// The tensor.
        tensor: String,
        /// The value.
        value: f32,
        /// The format asked for.
        format: &'static str,
    },
}

/// All weights of a model on the device.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) embedding: Weight,      // (vocab, hidden)
    pub(crate) output: Option<Weight>, // (vocab, hidden); None: the embedding serves
    pub(crate) output_norm: Buffer,    // (hidden)
    pub(crate) layers: Vec<LayerWeights>,
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct LayerWeights {
    pub(crate) attn_norm: Buffer,              // (hidden)
    pub(crate) qkv: Linear,                    // (qkv_dim, hidden): q, k and v rows, one below the other
    pub(crate) qk_norm: Option<Buffer>,        // (2, head_dim): of queries, of keys
    pub(crate) o: Linear,                      // (hidden, q_dim)
    pub(crate) attn_post_norm: Option<Buffer>, // (hidden)
    pub(crate) ffn_norm: Buffer,               // (hidden)
    pub(crate) gate: Linear,                   // (ffn, hidden)
    pub(crate) up: Linear,                     // (ffn, hidden)
    pub(crate) down: Linear,                   // (hidden, ffn)
    pub(crate) ffn_post_norm: Option<Buffer>,  // (hidden)
}

/// A projection, with a bias if the model has one.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Weight,       // (rows, cols)
    pub(crate) bias: Option<Buffer>, // (rows)
}

impl Weights {
    /// The matrix that turns the last hidden state into logits.
    pub(crate) fn head(&self) -> &Weight {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// The weights of a plan as names without memory, for recordings that are looked at and not run.
    pub(crate) fn planned(plan: &WeightsPlan) -> Self {
        let mut name = |request: BufferRequest| Buffer::planned(&request);
        let mut weights = Self::shared(plan, &mut name);
        let layers = (0..).zip(&plan.layers);
        weights.layers.extend(layers.map(|(layer, of)| LayerWeights::of(plan, (layer, of), &mut name)));
        weights
    }

    /// The one list of what no layer owns.
    pub(super) fn shared(plan: &WeightsPlan, make: Make<'_>) -> Self {
        Self {
            output_norm: make(vector_request("output norm".to_owned(), plan.hidden())),
            embedding: plan.embedding.weight(None, make),
            output: plan.output.as_ref().map(|output| output.weight(None, make)),
            layers: Vec::new(),
        }
    }
}

impl LayerWeights {
    /// The one list of what a layer owns.
    pub(super) fn of(plan: &WeightsPlan, (layer, of): (u32, &LayerPlan), make: Make<'_>) -> Self {
        let vector = |what: &str, len| vector_request(format!("layer {layer} {what}"), len);
        let LayerPlan { qkv, o, gate, up, down } = of;
        Self {
            attn_norm: make(vector("attention norm", plan.hidden())),
            ffn_norm: make(vector("feed-forward norm", plan.hidden())),
            attn_post_norm: plan.post_norm_len().map(|len| make(vector("norm after attention", len))),
            ffn_post_norm: plan.post_norm_len().map(|len| make(vector("norm after feed-forward", len))),
            qk_norm: plan.qk_norm_len().map(|len| make(vector("qk norm", len))),
            qkv: qkv.linear(layer, make),
            o: o.linear(layer, make),
            gate: gate.linear(layer, make),
            up: up.linear(layer, make),
            down: down.linear(layer, make),
        }
    }
}

impl MatrixPlan {
    /// Its parts, with the layer that they belong to in their labels.
    fn weight(&self, layer: Option<u32>, make: Make<'_>) -> Weight {
        let parts = self.parts.iter().map(|&PartPlan { first_row, rows, layout }| {
            let label = self.label_of(layer, &format!(" rows {first_row}..{}", first_row + rows));
            WeightPart { buffer: make(layout.request(label, rows, self.cols)), layout, first_row, rows }
        });
        Weight { parts: parts.collect(), rows: self.rows, cols: self.cols }
    }

    fn linear(&self, layer: u32, make: Make<'_>) -> Linear {
        let weight = self.weight(Some(layer), make);
        let bias = self.biased.then(|| make(vector_request(self.label_of(Some(layer), " bias"), self.rows)));
        Linear { weight, bias }
    }

    fn label_of(&self, layer: Option<u32>, what: &str) -> String {
        let place = layer.map_or_else(String::new, |layer| format!("layer {layer} "));
        format!("{place}{}{what}", self.label)
    }
}

/// Rows `wanted` of the matrix that `names`, one below the other, make: which rows of which weights they are.
fn pieces(
    config: &Config,
    names: &[WeightName],
    wanted: Range<u32>,
) -> impl Iterator<Item = (WeightName, Range<u32>)> {
    let mut base = 0;
    names.iter().filter_map(move |name| {
        let (rows, _) = name.shape(config);
        let from = wanted.start.max(base) - base;
        let to = wanted.end.min(base + rows).max(base) - base;
        base += rows;
        (from < to).then_some((*name, from..to))
    })
}

struct Loader<'a> {
    gpu: &'a Gpu,
    file: &'a ModelFile,
    done: u64,
    total: u64,
    since_flush: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

pub(crate) async fn load(
    gpu: &Gpu,
    file: &ModelFile,
    plan: &WeightsPlan,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Weights, LoadError> {
    let mut loader = Loader { gpu, file, done: 0, total: plan.total_bytes(), since_flush: 0, progress };

    let made = gpu.allocate(&plan.shared_requests()).await?;
    let mut weights = Weights::shared(plan, &mut handed_out(made));
    // All fields are named here and below, so that a new one cannot be left without its content.
    let Weights { embedding, output, output_norm, layers } = &mut weights;
    loader.vector(output_norm, &[WeightName::OutputNorm]).await?;
    loader.matrix(embedding, &[WeightName::TokenEmbedding]).await?;
    if let Some(output) = output {
        loader.matrix(output, &[WeightName::Output]).await?;
    }

    for (layer, of) in (0..).zip(&plan.layers) {
        let made = gpu.allocate(&plan.layer_requests((layer, of))).await?;
        let w = LayerWeights::of(plan, (layer, of), &mut handed_out(made));
        let LayerWeights {
            attn_norm,
            qkv,
            qk_norm,
            o,
            attn_post_norm,
            ffn_norm,
            gate,
            up,
            down,
            ffn_post_norm,
        } = &w;
        let of_layer = |weight| WeightName::Layer(layer, weight);
        loader.vector(attn_norm, &[of_layer(LayerWeight::AttnNorm)]).await?;
        loader.vector(ffn_norm, &[of_layer(LayerWeight::FfnNorm)]).await?;
        for (gain, weight) in
            [(attn_post_norm, LayerWeight::AttnPostNorm), (ffn_post_norm, LayerWeight::FfnPostNorm)]
        {
            if let Some(gain) = gain {
                loader.vector(gain, &[of_layer(weight)]).await?;
            }
        }
        if let Some(gains) = qk_norm {
            loader.vector(gains, &[LayerWeight::QNorm, LayerWeight::KNorm].map(of_layer)).await?;
        }
        loader.linear(qkv, layer, &[LayerWeight::Q, LayerWeight::K, LayerWeight::V]).await?;
        loader.linear(o, layer, &[LayerWeight::O]).await?;
        loader.linear(gate, layer, &[LayerWeight::Gate]).await?;
        loader.linear(up, layer, &[LayerWeight::Up]).await?;
        loader.linear(down, layer, &[LayerWeight::Down]).await?;
        layers.push(w);
    }
    gpu.idle().await?;
    Ok(weights)
}

impl Loader<'_> {
    /// Fills a buffer with vectors, one after the other.
    async fn vector(&mut self, buffer: &Buffer, names: &[WeightName]) -> Result<(), LoadError> {
        let mut values = Vec::new();
        for name in names {
            let (rows, _) = name.shape(&self.file.config);
            values.extend(self.file.read_rows(*name, 0..rows).await?);
        }
        self.gpu.upload(buffer, 0, bytemuck::cast_slice(&values))?;
        self.count(values.len() as u64 * 4).await
    }

    /// Fills a projection of a layer, its bias included, with the weights `stacked`, one below the other.
    async fn linear(
        &mut self,
        linear: &Linear,
        layer: u32,
        stacked: &[LayerWeight],
    ) -> Result<(), LoadError> {
        let names: Vec<_> = stacked.iter().map(|weight| WeightName::Layer(layer, *weight)).collect();
        self.matrix(&linear.weight, &names).await?;
        if let Some(bias) = &linear.bias {
            let names: Vec<_> = stacked.iter().map(|weight| WeightName::Bias(layer, *weight)).collect();
            self.vector(bias, &names).await?;
        }
        Ok(())
    }

    /// Fills a matrix with the rows of `names`, one below the other.
    async fn matrix(&mut self, matrix: &Weight, names: &[WeightName]) -> Result<(), LoadError> {
        let cols = matrix.cols;
        let most = u32::try_from(PIECE_ELEMENTS / u64::from(cols)).unwrap_or(u32::MAX);
        for part in &matrix.parts {
            let unit = part.layout.rows_unit();
            let step = (most / unit * unit).max(unit);
            let end = part.first_row + part.rows;
            let mut row = part.first_row;
            while row < end {
                let rows = row..end.min(row.saturating_add(step));
                let packed = match self.stacked_blocks(names, part.layout.precision(), rows.clone()).await? {
                    Some(blocks) => part.layout.pack_blocks(&blocks, cols),
                    None => part.layout.pack(&self.stacked_rows(names, rows.clone()).await?, cols),
                };
                let bytes = packed.map_err(|unfit| self.unfit(names, row, (part, cols), unfit))?;
                // Rows before this piece are whole units.
                let offset = part.layout.bytes(row - part.first_row, cols);
                self.gpu.upload(&part.buffer, offset, &bytes)?;
                self.count(bytes.len() as u64).await?;
                row = rows.end;
            }
        }
        Ok(())
    }

    /// Rows of the matrix that the weights `names`, one below the other, make, block by block as the file has them, if it has them in the
    /// blocks of `precision`.
    async fn stacked_blocks(
        &self,
        names: &[WeightName],
        precision: Precision,
        wanted: Range<u32>,
    ) -> Result<Option<Vec<Block>>, LoadError> {
        let pieces = || pieces(&self.file.config, names, wanted.clone());
        let stored = |name| self.file.stored_dtype(name).and_then(Blocks::of);
        let Some(wanted) = precision.blocks() else { return Ok(None) };
        if pieces().any(|(name, _)| stored(name) != Some(wanted)) {
            return Ok(None);
        }
        let mut blocks = Vec::new();
        for (name, rows) in pieces() {
            let (dtype, bytes) = self.file.read_stored(name, rows).await?;
            blocks.extend(dtype.blocks(&bytes));
        }
        Ok(Some(blocks))
    }

    /// Rows of the matrix that the weights `names`, one below the other, make.
    async fn stacked_rows(&self, names: &[WeightName], wanted: Range<u32>) -> Result<Vec<f32>, LoadError> {
        let mut values = Vec::new();
        for (name, rows) in pieces(&self.file.config, names, wanted) {
            values.extend(self.file.read_rows(name, rows).await?);
        }
        Ok(values)
    }

    /// Names the tensor of the weight that does not fit, in a piece that begins at `row` of the matrix.
    fn unfit(
        &self,
        names: &[WeightName],
        row: u32,
        (part, cols): (&WeightPart, u32),
        unfit: Unfit,
    ) -> LoadError {
        let row = row as usize + unfit.at / cols as usize;
        let mut base = 0;
        let name = names.iter().find(|name| {
            base += name.shape(&self.file.config).0 as usize;
            row < base
        });
        let Some(info) = name.and_then(|name| self.file.weight(*name)) else {
            unreachable!("row {row} of {names:?} was read, and lies in no tensor")
        };
        let (file, format) = (self.file.label().to_owned(), part.layout.precision().name());
        LoadError::Unfit { file, tensor: info.name.clone(), value: unfit.value, format }
    }

    async fn count(&mut self, bytes: u64) -> Result<(), LoadError> {
        self.done += bytes;
        self.since_flush += bytes;
        (self.progress)(self.done.min(self.total), self.total);
        if self.since_flush >= FLUSH_BYTES {
            self.since_flush = 0;
            self.gpu.idle().await?;
        }
        Ok(())
    }
}
