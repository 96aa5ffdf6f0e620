//! Which tensors the new file has, in which order and type, and the writing of their rows.
//!
//! What is stored comes from the config alone, so both forms of input lead to the same output. A tensor may hold several
//! weights, one below the other (Phi-3), and in GGUF the rows of q and k of some architectures are interleaved.

use std::io::Write;
use std::ops::ControlFlow;

use super::{ConvertError, Converted, Form, WriteError};
use crate::model_file::{
    Config, Encoding, LayerWeight, ModelFile, RopeDivisors, RopeScaling, WeightName, llama3_divisors,
    original_llama3,
};

/// Weights converted at a time (16 MiB of 32-bit floats).
const PIECE_ELEMENTS: u32 = 4 << 20;

/// The tensors of the new file.
pub(super) struct Layout {
    pub(super) tensors: Vec<Tensor>,
    /// The scaling of the rotary frequencies, as the new form says it.
    pub(super) rope_scaling: RopeScaling,
    /// The short and the long list of LongRoPE, for config.json.
    pub(super) rope_factors: Option<(Vec<f32>, Vec<f32>)>,
    form: Form,
    unquantised: usize,
}

/// A tensor to write.
pub(super) struct Tensor {
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<u64>,
    pub(super) encoding: Encoding,
    pub(super) bytes: u64,
    content: Content,
}

enum Content {
    /// Weights of the model, one below the other.
    Weights(Vec<WeightName>),
    /// Numbers that follow from the config.
    Values(Vec<f32>),
}

impl Layout {
    pub(super) fn new(file: &ModelFile, form: Form, encoding: Encoding) -> Result<Self, ConvertError> {
        let config = &file.config;
        let mut layout = Self {
            tensors: Vec::new(),
            rope_scaling: config.rope_scaling,
            rope_factors: None,
            form,
            unquantised: 0,
        };
        for name in WeightName::all(config) {
            if name.is_divisors() && form == Form::Safetensors {
                continue;
            }
            let (place, rows, columns) = name.stored_as(config, form == Form::Gguf);
            match layout.tensors.last_mut() {
                // The parts of a stacked tensor follow each other.
                Some(Tensor { name: last, content: Content::Weights(parts), .. }) if *last == place => {
                    parts.push(name);
                }
                _ => layout.push(place, rows, columns, encoding, Content::Weights(vec![name])),
            }
        }
        match (form, config.rope_scaling) {
            (Form::Gguf, RopeScaling::Llama3 { .. }) => {
                let Some(divisors) = llama3_divisors(config) else {
                    unreachable!("the scaling of Llama 3 has divisors")
                };
                let columns = divisors.len() as u64;
                let name = WeightName::RopeDivisors.gguf();
                layout.push(name, None, columns, encoding, Content::Values(divisors));
                layout.rope_scaling = RopeScaling::Divisors;
            }
            (Form::Safetensors, RopeScaling::Divisors) => {
                let Some(divisors) = pollster::block_on(file.rope_divisors())? else {
                    unreachable!("a file whose scaling is its divisors has them")
                };
                layout.rope_scaling = original_llama3(config, &divisors.short).ok_or_else(|| {
                    let reason =
                        "it has no place for divisors of its own, and these are not those of Llama 3";
                    form.inexpressible("the tensor rope_freqs.weight", reason)
                })?;
            }
            (_, RopeScaling::LongRope { .. }) => {
                let divisors = pollster::block_on(file.rope_divisors())?;
                let Some(RopeDivisors { short, long: Some(long) }) = divisors else {
                    unreachable!("such a file has both lists")
                };
                if form == Form::Safetensors {
                    layout.rope_factors = Some((short, long));
                } else if config.rope_factors.is_some() {
                    for (name, list) in [(WeightName::ShortDivisors, short), (WeightName::LongDivisors, long)]
                    {
                        let columns = list.len() as u64;
                        layout.push(name.gguf(), None, columns, encoding, Content::Values(list));
                    }
                }
            }
            _ => {}
        }
        Ok(layout)
    }

    fn push(&mut self, name: String, rows: Option<u64>, columns: u64, encoding: Encoding, content: Content) {
        let shape: Vec<u64> = rows.into_iter().chain([columns]).collect();
        let whole = columns.is_multiple_of(u64::from(encoding.dtype().block_elems()));
        let encoding = match rows {
            None => Encoding::F32,
            Some(_) if whole => encoding,
            Some(_) => {
                self.unquantised += 1;
                Encoding::F16
            }
        };
        let Some(bytes) = encoding.dtype().bytes_of(shape.iter().product()) else {
            unreachable!("{name:?} {shape:?} is no whole number of blocks of {encoding:?}")
        };
        self.tensors.push(Tensor { name, shape, encoding, bytes, content });
    }

    pub(super) fn summary(&self) -> Converted {
        let bytes = self.tensors.iter().map(|tensor| tensor.bytes).sum();
        Converted { tensors: self.tensors.len(), unquantised: self.unquantised, bytes }
    }

    /// Writes all tensors, each followed by zeros up to a multiple of `alignment`.
    pub(super) fn write(
        &self,
        file: &ModelFile,
        alignment: u64,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<(), WriteError> {
        let total = self.summary().bytes;
        let mut done = 0;
        for tensor in &self.tensors {
            let mut put = |values: &[f32], out: &mut dyn Write| -> Result<(), WriteError> {
                let mut bytes = Vec::new();
                let (encoding, name) = (tensor.encoding, &tensor.name);
                encoding.encode(values, &mut bytes).map_err(|value| ConvertError::NotStorable {
                    file: file.label().to_owned(),
                    tensor: name.clone(),
                    value,
                    encoding,
                })?;
                out.write_all(&bytes)?;
                done += bytes.len() as u64;
                match progress(done, total) {
                    ControlFlow::Continue(()) => Ok(()),
                    ControlFlow::Break(()) => Err(WriteError::Cancelled),
                }
            };
            match &tensor.content {
                Content::Values(values) => put(values, out)?,
                Content::Weights(parts) => {
                    for part in parts {
                        self.rows(file, *part, &mut |values| put(values, out))?;
                    }
                }
            }
            let padding = tensor.bytes.next_multiple_of(alignment) - tensor.bytes;
            out.write_all(&vec![0; padding as usize])?;
        }
        Ok(())
    }

    /// Gives `put` all rows of a weight in the order of the new file.
    fn rows(
        &self,
        file: &ModelFile,
        name: WeightName,
        put: &mut dyn FnMut(&[f32]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let (rows, columns) = name.shape(&file.config);
        let head = interleaved(name, &file.config, self.form).then_some(file.config.head_dim);
        let step = (PIECE_ELEMENTS / columns).max(1);
        // Whole heads, where rows of one head change places.
        let step = head.map_or(step, |head| (step / head).max(1) * head);
        let mut row = 0;
        while row < rows {
            let end = rows.min(row.saturating_add(step));
            let mut values = pollster::block_on(file.read_rows(name, row..end))?;
            if name.is_gain() && self.form == Form::Safetensors && file.config.architecture.is_gemma() {
                values.iter_mut().for_each(|gain| *gain -= 1.0);
            }
            match head {
                Some(head) => put(&interleave(&values, columns as usize, head as usize))?,
                None => put(&values)?,
            }
            row = end;
        }
        Ok(())
    }
}

/// Whether the rows of a weight change places inside each head.
fn interleaved(name: WeightName, config: &Config, form: Form) -> bool {
    use LayerWeight::{K, Q};
    let rotated = matches!(name, WeightName::Layer(_, Q | K) | WeightName::Bias(_, Q | K));
    form == Form::Gguf && rotated && config.architecture.is_interleaved()
}

/// Rows of whole heads with the two halves of each interleaved, which undoes `ModelFile::read_rows`.
fn interleave(values: &[f32], columns: usize, head: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for rows in values.chunks_exact(head * columns) {
        let (first, second) = rows.split_at(head / 2 * columns);
        for (a, b) in first.chunks_exact(columns).zip(second.chunks_exact(columns)) {
            out.extend_from_slice(a);
            out.extend_from_slice(b);
        }
    }
    out
}
