//! The gated half of a feed-forward block for one token: two products and their gate in one dispatch.

use super::choose;
use super::implementation::{Implementation, LANES_OF_RUNS, LANES_OF_SUMS, TUNED_SUMS};
use super::product::{Inputs, uniform_tile};
use super::weight::{IN_ROWS, IN_RUNS, IN_TEXELS, TILE_ROWS};
use super::{Weight, multiple_of_4, need, params, spread};
use crate::gpu::pipeline::{Access, Kernel, Shared, Variant};
use crate::gpu::{Buffer, Family, GpuError, Recorder};
use crate::model_file::Activation;

params! { GatedMlpParams { rows: u32, cols4: u32, out_offset: u32, eps: f32, activation: u32, pad0: u32, pad1: u32, pad2: u32 } }

/// `out[r] = activated(gate[r, :] . x) * (up[r, :] . x)`.
pub const KERNEL: Kernel = Kernel {
    op: "gated_mlp",
    name: "gated_mlp",
    source: concat!(
        include_str!("../../shaders/gated_mlp.wgsl"),
        include_str!("../../shaders/shared/params_gated_mlp.wgsl"),
        include_str!("../../shaders/shared/activation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    params: GatedMlpParams::LAYOUT,
    bindings: &[Access::Read, Access::Read, Access::Read, Access::ReadWrite],
    weights: &["gate", "up"],
    uses_reduce: true,
    shares: Some(Shared::Lanes),
    gain: Some(Access::Read),
    uses_subgroups: true,
};

/// Weights in rows, lanes that walk the columns together.
pub(super) const ROWS: Implementation = Implementation {
    layouts: IN_ROWS,
    lanes: LANES_OF_SUMS,
    tunable: TUNED_SUMS,
    rows: 4,
    ..Implementation::only(&KERNEL, 64)
};

const RUNS_KERNEL: Kernel = Kernel {
    name: "gated_mlp_runs",
    source: concat!(
        include_str!("../../shaders/gated_mlp_runs.wgsl"),
        include_str!("../../shaders/shared/runs.wgsl"),
        include_str!("../../shaders/shared/params_gated_mlp.wgsl"),
        include_str!("../../shaders/shared/activation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    ..KERNEL
};

/// Weights in rows, lanes that take a run of columns each.
pub(super) const RUNS: Implementation = Implementation {
    kernel: &RUNS_KERNEL,
    layouts: IN_RUNS,
    lanes: LANES_OF_RUNS,
    runs: true,
    for_hardware: true,
    ..ROWS
};

const TEXELS_KERNEL: Kernel = Kernel {
    name: "gated_mlp_texels",
    source: concat!(
        include_str!("../../shaders/gated_mlp_texels.wgsl"),
        include_str!("../../shaders/shared/params_gated_mlp.wgsl"),
        include_str!("../../shaders/shared/activation.wgsl"),
        include_str!("../../shaders/shared/group.wgsl")
    ),
    bindings: &[Access::Words, Access::Words, Access::Uniform, Access::ReadWrite],
    uses_reduce: false,
    shares: Some(Shared::Inputs),
    gain: Some(Access::Uniform),
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

/// `gate` and `up` (rows, cols), one row of inputs (cols) into `out` (rows); one dispatch per pair of parts.
///
/// # Errors
/// [`GpuError::Shape`] when the two matrices do not lie alike ([`Weight::lies_as`]), or a buffer is too small.
pub fn record(
    rec: &mut Recorder,
    gate: &Weight,
    up: &Weight,
    inputs: Inputs<'_>,
    out: &Buffer,
    activation: Activation,
) -> Result<(), GpuError> {
    let name = KERNEL.op;
    let cols4 = multiple_of_4(name, "cols", gate.cols)?;
    if !gate.lies_as(up) {
        let (got, need) = (up.rows.into(), gate.rows.into());
        return Err(GpuError::Shape {
            kernel: name,
            what: "rows of up, cut and laid out as those of gate",
            got,
            need,
        });
    }
    let x = inputs.x;
    if (inputs.first, inputs.count) != (0, 1) {
        let got = inputs.count.into();
        return Err(GpuError::Shape { kernel: name, what: "inputs, the first row alone", got, need: 1 });
    }
    need(name, "bytes of x", x.all(), u64::from(gate.cols) * 4)?;
    let (eps, gain_len) = inputs.norm_of(name, gate.cols)?;
    need(name, "bytes of out", out.all(), u64::from(gate.rows) * 4)?;
    for (gate_part, up_part) in gate.parts.iter().zip(&up.parts) {
        let shape = [gate.rows, gate.cols];
        let (one, workgroup) = choose::choose_product(KERNEL.op, 1, gate_part.layout, shape, rec.device())?;
        let name = one.kernel.name;
        let (x, uniform_len) = if one.kernel.bindings.contains(&Access::Uniform) {
            let (_, range) = uniform_tile(rec, name, &[1], x, 0, 1, gate.cols)?;
            (range.binding, range.len)
        } else {
            (x.all(), 1)
        };
        let weight = Some(one.part(gate_part.layout));
        let variant = Variant { weight, uniform_len, gain_len, ..one.variant_of(workgroup, rec.device()) };
        let params = GatedMlpParams {
            rows: gate_part.rows,
            cols4,
            out_offset: gate_part.first_row,
            eps,
            activation: activation as u32,
            pad0: 0,
            pad1: 0,
            pad2: 0,
        };
        let groups = spread(name, u64::from(gate_part.rows).div_ceil(one.rows.into()))?;
        let mut bindings = vec![gate_part.binding(), up_part.binding(), x, out.all()];
        bindings.extend(inputs.norm.map(|norm| norm.gain.all()));
        rec.dispatch(one.kernel, variant, &bindings, &params, groups)?;
    }
    Ok(())
}
