//! From a model file to the device: read a piece, convert it, upload it, forget it.
//!
//! Host memory stays bounded by one piece whatever the size of the model, and the same code serves a file on disk and
//! bytes in a browser.

use std::ops::Range;

use super::plan::{self, MatrixPlan, PlanError, WeightsPlan};
use crate::gpu::{Buffer, Gpu, GpuError};
use crate::kernels::{Unfit, Weight, WeightPart};
use crate::model_file::{LayerWeight, ModelFile, ModelFileError, WeightName};

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
    pub(crate) attn_norm: Buffer,       // (hidden)
    pub(crate) qkv: Linear,             // (qkv_dim, hidden): q, k and v rows, one below the other
    pub(crate) qk_norm: Option<Buffer>, // (2, head_dim): of queries, of keys
    pub(crate) o: Linear,               // (hidden, q_dim)
    pub(crate) ffn_norm: Buffer,        // (hidden)
    pub(crate) gate: Linear,            // (ffn, hidden)
    pub(crate) up: Linear,              // (ffn, hidden)
    pub(crate) down: Linear,            // (hidden, ffn)
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

    let mut shared = gpu.allocate(&plan.shared_requests()).await?.into_iter();
    let output_norm = loader.vector(shared.next(), &[WeightName::OutputNorm]).await?;
    let embedding = loader.matrix(&mut shared, &plan.embedding, &[WeightName::TokenEmbedding]).await?;
    let output = match &plan.output {
        Some(matrix) => Some(loader.matrix(&mut shared, matrix, &[WeightName::Output]).await?),
        None => None,
    };

    let mut layers = Vec::new();
    for layer in 0..file.config.n_layers {
        let mut buffers = gpu.allocate(&plan.layer_requests(layer)).await?.into_iter();
        let of_layer = |weight| WeightName::Layer(layer, weight);
        let attn_norm = loader.vector(buffers.next(), &[of_layer(LayerWeight::AttnNorm)]).await?;
        let ffn_norm = loader.vector(buffers.next(), &[of_layer(LayerWeight::FfnNorm)]).await?;
        let qk_norm = if file.config.qk_norm {
            let gains = [LayerWeight::QNorm, LayerWeight::KNorm].map(of_layer);
            Some(loader.vector(buffers.next(), &gains).await?)
        } else {
            None
        };
        let mut matrices = Vec::new();
        for matrix in [&plan.layer.qkv, &plan.layer.o, &plan.layer.gate, &plan.layer.up, &plan.layer.down] {
            matrices.push(loader.linear(&mut buffers, matrix, layer).await?);
        }
        let Ok([qkv, o, gate, up, down]) = <[Linear; 5]>::try_from(matrices) else {
            unreachable!("five matrices were pushed");
        };
        layers.push(LayerWeights { attn_norm, qkv, qk_norm, o, ffn_norm, gate, up, down });
    }
    gpu.wait()?;
    Ok(Weights { embedding, output, output_norm, layers })
}

impl Loader<'_> {
    /// Fills a buffer with vectors, one after the other.
    async fn vector(&mut self, buffer: Option<Buffer>, names: &[WeightName]) -> Result<Buffer, LoadError> {
        let buffer = buffer.ok_or_else(missing_buffer)?;
        let mut values = Vec::new();
        for name in names {
            let (rows, _) = name.shape(&self.file.config);
            values.extend(self.file.read_rows(*name, 0..rows).await?);
        }
        self.gpu.upload(&buffer, 0, bytemuck::cast_slice(&values))?;
        self.count(values.len() as u64 * 4)?;
        Ok(buffer)
    }

    /// Fills a projection of a layer, its bias included.
    async fn linear(
        &mut self,
        buffers: &mut impl Iterator<Item = Buffer>,
        plan: &MatrixPlan,
        layer: u32,
    ) -> Result<Linear, LoadError> {
        let stacked = plan::stacked(plan.label);
        let names: Vec<_> = stacked.iter().map(|weight| WeightName::Layer(layer, *weight)).collect();
        let weight = self.matrix(buffers, plan, &names).await?;
        let bias = if plan.biased {
            let names: Vec<_> = stacked.iter().map(|weight| WeightName::Bias(layer, *weight)).collect();
            Some(self.vector(buffers.next(), &names).await?)
        } else {
            None
        };
        Ok(Linear { weight, bias })
    }

    /// Fills one matrix with the rows of `names`, stacked in order, and takes its buffers from `buffers`.
    async fn matrix(
        &mut self,
        buffers: &mut impl Iterator<Item = Buffer>,
        plan: &MatrixPlan,
        names: &[WeightName],
    ) -> Result<Weight, LoadError> {
        let parts: Vec<WeightPart> = plan
            .parts()
            .zip(buffers.by_ref())
            .map(|((first_row, rows), buffer)| WeightPart { buffer, first_row, rows })
            .collect();
        let unit = plan.layout.rows_unit();
        let most = u32::try_from(PIECE_ELEMENTS / u64::from(plan.cols)).unwrap_or(u32::MAX);
        let step = (most / unit * unit).max(unit);
        for part in &parts {
            let end = part.first_row + part.rows;
            let mut row = part.first_row;
            while row < end {
                let rows = row..end.min(row.saturating_add(step));
                let values = self.stacked_rows(names, rows.clone()).await?;
                let packed = plan.layout.pack(&values, plan.cols);
                let bytes = packed.map_err(|unfit| self.unfit(names, row, plan, unfit))?;
                // Rows before this piece are whole units.
                let offset = plan.layout.bytes(row - part.first_row, plan.cols);
                self.gpu.upload(&part.buffer, offset, &bytes)?;
                self.count(bytes.len() as u64)?;
                row = rows.end;
            }
        }
        Ok(Weight { parts, rows: plan.rows, cols: plan.cols, layout: plan.layout })
    }

    /// Rows of the matrix that the weights `names`, one below the other, make.
    async fn stacked_rows(&self, names: &[WeightName], wanted: Range<u32>) -> Result<Vec<f32>, LoadError> {
        let mut values = Vec::new();
        let mut base = 0;
        for name in names {
            let (rows, _) = name.shape(&self.file.config);
            let from = wanted.start.max(base) - base;
            let to = wanted.end.min(base + rows).max(base) - base;
            if from < to {
                values.extend(self.file.read_rows(*name, from..to).await?);
            }
            base += rows;
        }
        Ok(values)
    }

    /// Names the tensor of the weight that does not fit, in a piece that begins at `row` of the matrix.
    fn unfit(&self, names: &[WeightName], row: u32, plan: &MatrixPlan, unfit: Unfit) -> LoadError {
        let row = row + u32::try_from(unfit.at / plan.cols as usize).unwrap_or_default();
        let mut base = 0;
        let name = names.iter().find(|name| {
            base += name.shape(&self.file.config).0;
            row < base
        });
        let tensor =
            name.and_then(|name| self.file.weight(*name)).map_or_else(String::new, |info| info.name.clone());
        let (file, format) = (self.file.label().to_owned(), plan.layout.format().name());
        LoadError::Unfit { file, tensor, value: unfit.value, format }
    }

    fn count(&mut self, bytes: u64) -> Result<(), LoadError> {
        self.done += bytes;
        self.since_flush += bytes;
        (self.progress)(self.done.min(self.total), self.total);
        if self.since_flush >= FLUSH_BYTES {
            self.since_flush = 0;
            self.gpu.wait()?;
        }
        Ok(())
    }
}

/// The plan and its buffers come from the same list; this is for a device that handed out fewer.
fn missing_buffer() -> LoadError {
    LoadError::Gpu(GpuError::Allocation {
        what: "weights".to_owned(),
        bytes: 0,
        message: "buffer missing".to_owned(),
    })
}
