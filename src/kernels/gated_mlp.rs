//! The gated half of a SwiGLU block for one token: two products and their gate in one dispatch.

use super::choose::{self, Implementation, LANES_OF_SUMS, Layout};
use super::product::uniform_tile;
use super::weight::{IN_ROWS, IN_TEXELS, TILE_ROWS};
use super::{Weight, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};

params! { GatedMlpParams { rows: u32, cols4: u32, out_offset: u32, pad0: u32 } }

/// `out[r] = silu(gate[r, :] . x) * (up[r, :] . x)`.
pub const KERNEL: Kernel = Kernel {
    op: "gated_mlp",
    name: "gated_mlp",
    source: concat!(
        include_str!("../../shaders/gated_mlp.wgsl"),
        include_str!("../../shaders/shared/params_gated_mlp.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: GatedMlpParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &["gate", "up"],
    uses_reduce: true,
    shares_x: false,
    uses_subgroups: true,
};

/// Weights in rows, lanes that walk the columns together.
pub(super) const ROWS: Implementation =
    Implementation { layouts: IN_ROWS, lanes: LANES_OF_SUMS, rows: 4, ..Implementation::only(&KERNEL, 64) };

const TEXELS_KERNEL: Kernel = Kernel {
    name: "gated_mlp_texels",
    source: concat!(
        include_str!("../../shaders/gated_mlp_texels.wgsl"),
        include_str!("../../shaders/shared/params_gated_mlp.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    bindings: &[Access::Words, Access::Words, Access::Uniform, Access::ReadWrite],
    uses_reduce: false,
    shares_x: true,
    ..KERNEL
};

/// Weights in textures, the input in a uniform, a row of each weight a lane.
pub(super) const TEXELS: Implementation = Implementation {
    family: Family::Software,
    layouts: IN_TEXELS,
    least_subgroup: 8,
    rows: TILE_ROWS,
    ..Implementation::only(&TEXELS_KERNEL, 8)
};

/// `gate` and `up` (rows, cols), `x` (cols) into `out` (rows). Both weights are split at the same rows, since they have
/// the same shape and format; one dispatch per pair of parts.
///
/// # Errors
/// [`GpuError::Shape`] when the two matrices differ in shape, or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    gate: &Weight,
    up: &Weight,
    x: &Buffer,
    out: &Buffer,
) -> Result<(), GpuError> {
    let one = choose::choose(KERNEL.op, Layout::Weight(gate.layout), rec.device())?;
    let name = one.kernel.name;
    let cols4 = multiple_of_4(name, "cols", gate.cols)?;
    let same = |what, got: u32, need: u32| match got == need {
        true => Ok(()),
        false => Err(GpuError::Shape { kernel: name, what, got: got.into(), need: need.into() }),
    };
    same("rows of up", up.rows, gate.rows)?;
    same("cols of up", up.cols, gate.cols)?;
    same("parts of up", up.parts.len() as u32, gate.parts.len() as u32)?;
    same("layout of up", up.layout as u32, gate.layout as u32)?;
    need(name, "bytes of x", x.all(), u64::from(gate.cols) * 4)?;
    need(name, "bytes of out", out.all(), u64::from(gate.rows) * 4)?;
    let (x, uniform_len) = if one.kernel.bindings.contains(&Access::Uniform) {
        let (_, range) = uniform_tile(rec, name, &[1], x, 0, 1, gate.cols)?;
        (range.binding, range.len)
    } else {
        (x.all(), 1)
    };
    let variant = Variant { weight: Some(gate.layout.part()), uniform_len, ..one.variant(rec.device()) };
    for (gate, up) in gate.parts.iter().zip(&up.parts) {
        let params = GatedMlpParams { rows: gate.rows, cols4, out_offset: gate.first_row, pad0: 0 };
        let groups = spread(name, u64::from(gate.rows).div_ceil(one.rows.into()))?;
        let bindings = [gate.binding(), up.binding(), x, out.all()];
        rec.dispatch(one.kernel, variant, &bindings, &params, groups)?;
    }
    Ok(())
}
