//! A matrix times one or many inputs: what `matvec` and `matmul` share.

use super::choose;
use super::{Weight, WeightPart, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, ParamsLayout, Variant};
use crate::gpu::{Binding, Buffer, Capabilities, GpuError, Recorder};

params! {
    ProductParams {
        rows: u32, cols4: u32, inputs: u32, out_stride: u32, out_offset: u32, x_at: u32, eps: f32, pad0: u32,
    }
}

/// The parameters of every product.
pub(super) const PARAMS: ParamsLayout = ProductParams::LAYOUT;

/// Bytes from one place that a uniform binding may begin at to the next.
const UNIFORM_STEP: u64 = 256;

/// Rows of inputs that a product reads: `count` rows of `x` (any, cols) from `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Where they lie.
    pub x: &'a Buffer,
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// How they are normalized on the way, of one row alone.
    pub norm: Option<Norm<'a>>,
}

/// RMSNorm on the way into a product: `x * gain / sqrt(mean(x^2) + eps)`.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// What each column is multiplied with (cols).
    pub gain: &'a Buffer,
    /// Keeps the root from zero.
    pub eps: f32,
}

impl<'a> Inputs<'a> {
    /// Row `row` of `x` alone.
    pub fn one(x: &'a Buffer, row: u32) -> Self {
        Self::rows(x, 1).from(row)
    }

    /// The first `count` rows of `x`.
    pub fn rows(x: &'a Buffer, count: u32) -> Self {
        Self { x, first: 0, count, norm: None }
    }

    /// The same number of rows from row `first` on.
    pub fn from(self, first: u32) -> Self {
        Self { first, ..self }
    }

    /// Normalized on the way.
    pub fn normalized(self, norm: Norm<'a>) -> Self {
        Self { norm: Some(norm), ..self }
    }

    /// What the parameters and the variant of a kernel say of the normalization: eps, the length of the gain.
    pub(super) fn norm_of(&self, kernel: &'static str, cols: u32) -> Result<(f32, u32), GpuError> {
        let Some(norm) = self.norm else { return Ok((0.0, 0)) };
        if self.count != 1 {
            let (what, got) = ("inputs that are normalized on the way", self.count.into());
            return Err(GpuError::Shape { kernel, what, got, need: 1 });
        }
        need(kernel, "bytes of gain", norm.gain.all(), u64::from(cols) * 4)?;
        Ok((norm.eps, cols / 4))
    }
}

/// What a kernel does with the numbers that its output holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Overwrites them.
    Replace,
    /// Adds to them.
    Add,
}

/// What one [`record`] call reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    /// The matrix (rows, cols).
    pub weight: &'a Weight,
    /// What it is multiplied with (inputs, cols).
    pub inputs: Inputs<'a>,
    /// The products (inputs, rows).
    pub out: &'a Buffer,
    /// What becomes of `out`.
    pub update: Update,
}

/// The range of a buffer that is bound for the inputs. As a uniform it is whole steps around what is wanted.
pub(super) struct InputRange<'a> {
    pub(super) binding: Binding<'a>,
    /// Where the wanted begins, in `vec4`s.
    pub(super) at: u32,
    /// Length of the binding in `vec4`s.
    pub(super) len: u32,
}

/// Bytes of a uniform binding for `rows` rows of `cols` floats that begin `at` bytes into a buffer.
pub(super) fn uniform_bytes(rows: u32, cols: u32, at: u64) -> u64 {
    (at % UNIFORM_STEP + u64::from(rows) * u64::from(cols) * 4).next_multiple_of(UNIFORM_STEP)
}

/// Whether a device binds any one row of `cols` floats as a uniform, wherever in its buffer it begins.
pub(super) fn fits_uniform(cols: u32, device: &Capabilities) -> bool {
    let bytes = u64::from(cols) * 4;
    // Rows begin at multiples of `bytes`, so at most this far behind a step.
    let farthest = UNIFORM_STEP - (1 << bytes.trailing_zeros().min(UNIFORM_STEP.ilog2()));
    uniform_bytes(1, cols, farthest) <= device.max_uniform_bytes
}

/// `rows` rows of `cols` floats of `x` from row `first` on, if the device binds as much. What is bound is always of one length, as much
/// as the device binds or the whole buffer, because each length is a pipeline of its own.
fn uniform_range<'a>(
    rec: &Recorder,
    x: &'a Buffer,
    first: u32,
    rows: u32,
    cols: u32,
) -> Option<InputRange<'a>> {
    let at = u64::from(first) * u64::from(cols) * 4;
    let end = at + u64::from(rows) * u64::from(cols) * 4;
    let most = rec.device().max_uniform_bytes.min(x.size()) & !15;
    let mut start = at.min(x.size() - most) & !(UNIFORM_STEP - 1);
    // The last rows of a buffer that is no whole number of steps: from their own step to its end.
    if end > start + most {
        start = at & !(UNIFORM_STEP - 1);
    }
    let len = most.min(x.size() - start) & !15;
    (end <= start + len).then(|| InputRange {
        binding: x.range(start, len),
        at: ((at - start) / 16) as u32,
        len: (len / 16) as u32,
    })
}

/// Multiplies `io.inputs` with `io.weight`, by the op that suits their number.
///
/// # Errors
/// [`GpuError::Shape`] when a buffer is too small, or the columns are no whole number of the layout's units.
pub fn record(rec: &mut Recorder, io: Product<'_>) -> Result<(), GpuError> {
    record_op(rec, choose::product(io.inputs.count), io)
}

pub(super) fn record_op(rec: &mut Recorder, op: &'static str, io: Product<'_>) -> Result<(), GpuError> {
    let Product { weight, inputs, out, .. } = io;
    let (rows, cols, count) = (u64::from(weight.rows), u64::from(weight.cols), u64::from(inputs.count));
    need(op, "bytes of x", inputs.x.all(), (u64::from(inputs.first) + count) * cols * 4)?;
    need(op, "bytes of out", out.all(), count * rows * 4)?;
    weight.parts.iter().try_for_each(|part| record_part(rec, op, io, part))
}

fn record_part(
    rec: &mut Recorder,
    op: &'static str,
    io: Product<'_>,
    part: &WeightPart,
) -> Result<(), GpuError> {
    let Product { weight, inputs, out, update } = io;
    let shape = [weight.rows, weight.cols];
    let (one, workgroup) = choose::choose_product(op, inputs.count, part.layout, shape, rec.device())?;
    let Kernel { name, bindings, .. } = *one.kernel;
    let unit = part.layout.run_cols();
    if weight.cols == 0 || !weight.cols.is_multiple_of(unit) {
        return Err(GpuError::Shape {
            kernel: name,
            what: "cols",
            got: weight.cols.into(),
            need: unit.into(),
        });
    }
    let as_uniform = bindings.contains(&Access::Uniform);
    let (eps, gain_len) = inputs.norm_of(name, weight.cols)?;
    let most = part.layout.most_inputs();
    let tiles: Vec<_> = one.inputs.iter().copied().filter(|tile| !as_uniform || *tile <= most).collect();
    let mut done = 0;
    while done < inputs.count {
        let rest = inputs.count - done;
        let first = inputs.first + done;
        // A uniform holds few inputs, so there are more dispatches; a storage buffer holds them all.
        let (taken, tile, x) = if as_uniform {
            let (tile, x) = uniform_tile(rec, name, &tiles, inputs.x, first, rest, weight.cols)?;
            (tile.min(rest), tile, x)
        } else {
            let x = InputRange { binding: inputs.x.all(), at: first * (weight.cols / 4), len: 1 };
            (rest, one.inputs[0], x)
        };
        let params = ProductParams {
            rows: part.rows,
            cols4: weight.cols / 4,
            inputs: taken,
            out_stride: weight.rows,
            out_offset: part.first_row + done * weight.rows,
            x_at: x.at,
            eps,
            pad0: 0,
        };
        let variant = Variant {
            weight: Some(one.part(part.layout)),
            residual: update == Update::Add,
            inputs: tile,
            uniform_len: x.len,
            gain_len,
            ..one.variant_of(workgroup, rec.device())
        };
        let [rows, tile] = one.tile(variant.workgroup, tile);
        let groups = u64::from(part.rows.div_ceil(rows)) * u64::from(taken.div_ceil(tile));
        let mut bindings = vec![part.binding(), x.binding, out.all()];
        bindings.extend(inputs.norm.map(|norm| norm.gain.all()));
        rec.dispatch(one.kernel, variant, &bindings, &params, spread(name, groups)?)?;
        done += taken;
    }
    Ok(())
}

/// How many of `rest` rows of `x` one dispatch takes, of the numbers `tiles`, and where they are bound. A tile larger than the rest
/// wastes less than several small ones, but it must lie in the buffer and in what the device binds.
pub(super) fn uniform_tile<'a>(
    rec: &Recorder,
    kernel: &'static str,
    tiles: &[u32],
    x: &'a Buffer,
    first: u32,
    rest: u32,
    cols: u32,
) -> Result<(u32, InputRange<'a>), GpuError> {
    let mut fitting = None;
    for tile in tiles {
        if let Some(range) = uniform_range(rec, x, first, *tile, cols) {
            fitting = Some((*tile, range));
            if *tile <= rest.next_power_of_two() {
                break;
            }
        }
    }
    let at = u64::from(first) * u64::from(cols) * 4;
    let (got, need) = (uniform_bytes(1, cols, at), rec.device().max_uniform_bytes);
    fitting.ok_or(GpuError::Shape { kernel, what: "bytes of a row in a uniform", got, need })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{BufferRequest, Family};

    #[test]
    fn every_row_lies_in_a_window_of_one_length() {
        let device = Capabilities::baseline(Family::Software);
        let rec = Recorder::new(&device);
        // Shorter than a window, as long, and longer; rows that begin at steps of a uniform and such that do not.
        for (rows, cols) in [(1, 576), (3, 36), (64, 256), (128, 576), (37, 1028)] {
            let x = Buffer::planned(&BufferRequest::storage("x", u64::from(rows) * u64::from(cols) * 4));
            let len = x.size().min(device.max_uniform_bytes) / 16;
            for first in 0..rows {
                let range = uniform_range(&rec, &x, first, 1, cols).unwrap();
                let start = range.binding.offset;
                let len = if x.size().is_multiple_of(UNIFORM_STEP) { len } else { u64::from(range.len) };
                assert_eq!(u64::from(range.len), len, "row {first} of {rows} of {cols}");
                assert_eq!(start % UNIFORM_STEP, 0, "row {first} of {rows} of {cols}");
                assert!(start + len * 16 <= x.size(), "row {first} of {rows} of {cols}");
                let at = u64::from(first) * u64::from(cols) * 4;
                assert_eq!(start + u64::from(range.at) * 16, at, "row {first} of {rows} of {cols}");
                assert!(u64::from(range.at) * 16 + u64::from(cols) * 4 <= len * 16);
            }
        }
    }
}
