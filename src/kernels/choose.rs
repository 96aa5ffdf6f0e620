//! Which implementation computes an op: the one table, and the one place that chooses.
//!
//! An op (`matvec`, `attention`, ...) is what has to be computed: it has one CPU twin, one row of tolerances and one test, which runs
//! over all its implementations. An implementation is a shader, the layouts it reads, and numbers.
//! To add one: its shader, its declaration beside the op's others, and its line in [`IMPLEMENTATIONS`].

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::cache_layout::CacheLayout;
use super::implementation::LANES_OF_SUMS;
use super::*;
use crate::gpu::pipeline::Variant;
use crate::gpu::{Capabilities, Dispatch, F16, Family};
use crate::model_file::Heads;

/// Every implementation there is. Of those that can read what there is to read, the device's family decides, then whether 16-bit floats were
/// asked for, then whether the device is hardware, then the number of inputs, of those made for so many the one made for the most, then the
/// order here.
pub const IMPLEMENTATIONS: &[Implementation] = &[
    Implementation::only(&add_bias::KERNEL, MAP_WORKGROUP),
    Implementation::only(&adjust::KERNEL, MAP_WORKGROUP),
    Implementation::only(&argmax::KERNEL, argmax::WORKGROUP),
    attention::ROWS,
    attention::SPLIT,
    attention::TEXELS,
    Implementation::only(&attention_join::KERNEL, 64),
    embed::ROWS,
    embed::TEXELS,
    Implementation::only(&emit::KERNEL, 1),
    Implementation::only(&gate_mul::KERNEL, MAP_WORKGROUP),
    gated_mlp::RUNS,
    gated_mlp::ROWS,
    gated_mlp::TEXELS,
    Implementation::only(&kv_step::KERNEL, 1),
    kv_write::ROWS,
    kv_write::TEXELS,
    Implementation::only(&masked_attention::KERNEL, attention::TILE),
    matmul::TILED,
    matmul::TILED_F16,
    matmul::ROWS,
    matmul::TEXELS,
    matvec::RUNS,
    matvec::ROWS,
    matvec::TEXELS,
    multiply_add::ONLY,
    Implementation::only(&nll::KERNEL, 64),
    Implementation::only(&penalize::KERNEL, MAP_WORKGROUP),
    Implementation { lanes: LANES_OF_SUMS, ..Implementation::only(&qk_norm::KERNEL, 64) },
    Implementation { lanes: LANES_OF_SUMS, ..Implementation::only(&rms_norm::KERNEL, 64) },
    rope::ROWS,
    rope::HALVES,
    rope::Q8,
    rope::TEXELS,
    rope::Q8_TEXELS,
    Implementation::only(&sample::KERNEL, crate::sampling::DRAW_LANES),
    Implementation::only(&soft_cap::KERNEL, MAP_WORKGROUP),
    stream::ROWS,
    stream::TEXELS,
    Implementation::only(&top_logprobs::KERNEL, top_logprobs::WORKGROUP),
];

/// The implementations of `op`.
pub fn implementations(op: &str) -> impl Iterator<Item = &'static Implementation> {
    IMPLEMENTATIONS.iter().filter(move |one| one.kernel.op == op)
}

/// The implementation of `op` for what lies in `layout`, on `device`.
///
/// # Errors
/// As [`choose_for`].
pub fn choose(
    op: &'static str,
    layout: Layout,
    device: &Capabilities,
) -> Result<&'static Implementation, GpuError> {
    choose_for(op, 1, layout, device)
}

/// The implementation of `op` for so many inputs, or of attention for keys in so many shares.
///
/// # Errors
/// [`GpuError::NoImplementation`] if none reads the layout, or not the one that the device is bound to, or that one needs a feature which the
/// device has not.
pub fn choose_for(
    op: &'static str,
    inputs: u32,
    layout: Layout,
    device: &Capabilities,
) -> Result<&'static Implementation, GpuError> {
    let forced = device.forced.filter(|(forced, _)| *forced == op).map(|(_, name)| name);
    let unmeasured = |one: &Implementation| !one.needs_f16 || device.f16 == F16::Always;
    let may_be = |one: &Implementation| forced.map_or(unmeasured(one), |name| name == one.kernel.name);
    implementations(op)
        .filter(|one| one.reads(layout) && one.runs_on(device) && may_be(one))
        .min_by_key(|one| {
            let unfit = one.for_hardware && device.software;
            let few = inputs < one.least_inputs;
            // One in 16-bit floats is here because it was asked for.
            let other = !one.needs_f16 || few;
            (one.family != device.family, other, unfit, few, Reverse(one.least_inputs))
        })
        .ok_or_else(|| GpuError::NoImplementation { op, wanted: format!("{layout:?}") })
}

/// Inputs of the product by which those of a prompt are measured.
pub const PROMPT_INPUTS: u32 = 64;

/// A matrix of `shape` (rows, cols) times so many inputs, or two such matrices times one: by which implementation of `op`, and in workgroups
/// of how many invocations, if that was measured. What was measured of a prompt's whole tiles says nothing of a few inputs.
///
/// # Errors
/// As [`choose_for`].
pub(super) fn choose_product(
    op: &'static str,
    inputs: u32,
    layout: WeightLayout,
    shape: [u32; 2],
    device: &Capabilities,
) -> Result<(&'static Implementation, Option<u32>), GpuError> {
    let usual = choose_for(op, inputs, Layout::Weight(layout), device)?;
    let is_measured = inputs == 1 || inputs > PROMPT_INPUTS / 2;
    let measured =
        device.tuning.find(op, layout.name(), shape).filter(|_| device.forced.is_none() && is_measured);
    let tuned = measured.and_then(|tuned| {
        let one = implementations(op).find(|one| one.kernel.name == tuned.implementation)?;
        let may_be = one.lanes.contains(&tuned.workgroup) || one.tunable.contains(&tuned.workgroup);
        (one.reads(Layout::Weight(layout)) && one.runs_on(device) && may_be)
            .then_some((one, Some(tuned.workgroup)))
    });
    Ok(tuned.unwrap_or((usual, None)))
}

/// What computes such a product, of a prompt if it is one of many inputs, where nothing was measured, and in workgroups of how many
/// invocations.
///
/// # Errors
/// As [`choose_for`].
pub fn usual_product(
    op: &'static str,
    layout: WeightLayout,
    device: &Capabilities,
) -> Result<(&'static Implementation, u32), GpuError> {
    let inputs = if op == matmul::KERNEL.op { PROMPT_INPUTS } else { 1 };
    let one = choose_for(op, inputs, Layout::Weight(layout), device)?;
    Ok((one, one.variant(device).workgroup))
}

/// A number for the texts of the kernels that multiply, with all parts, for the workgroups they offer, and for the version: what was measured
/// of others says nothing of these.
pub fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    for one in IMPLEMENTATIONS.iter().filter(|one| !one.tunable.is_empty()) {
        (one.kernel.name, one.lanes, one.tunable).hash(&mut hasher);
        one.weight_layouts().for_each(|layout| one.part(layout).source.hash(&mut hasher));
        let variants = one.variants();
        variants
            .first()
            .into_iter()
            .chain(variants.last())
            .for_each(|v| one.kernel.compose(v).hash(&mut hasher));
    }
    hasher.finish()
}

/// Whether a dispatch is a variant that its implementation lists. What is not listed is shown to no other backend's compiler, so tests let
/// none be recorded.
pub fn is_declared(dispatch: &Dispatch) -> bool {
    // The lengths of uniform arrays are free.
    let free = |variant: &Variant| Variant { uniform_len: 0, gain_len: variant.gain_len.min(1), ..*variant };
    let mut own = IMPLEMENTATIONS.iter().filter(|one| one.kernel.name == dispatch.kernel.name);
    own.any(|one| one.variants().iter().any(|variant| free(variant) == free(&dispatch.variant)))
}

/// For people: of each op that has several implementations, the usual one of `family` on the devices it is made for.
pub fn listing(family: Family) -> Vec<String> {
    let several = |one: &&Implementation| implementations(one.kernel.op).count() > 1;
    let mut of_family: Vec<_> =
        IMPLEMENTATIONS.iter().filter(several).filter(|one| one.family == family).collect();
    // What goes first is taken first, and the same op's stand together.
    of_family.dedup_by_key(|one| one.kernel.op);
    of_family.iter().map(|one| format!("{} by {}", one.kernel.op, one.kernel.name)).collect()
}

/// The op that multiplies a matrix with `n` inputs.
pub fn product(n: u32) -> &'static str {
    if n == 1 { matvec::KERNEL.op } else { matmul::KERNEL.op }
}

/// Whether one dispatch makes the gated half of a feed-forward block of `n` inputs: both products and their gate.
pub fn gate_is_fused(n: u32, biased: bool, gate: &Weight, up: &Weight) -> bool {
    n == 1 && !biased && gate.lies_as(up)
}

/// Whether products of `n` inputs normalize them on the way. With many it is cheaper to do it once, before.
pub fn norm_is_fused(n: u32) -> bool {
    n == 1
}

/// How a matrix of `cols` columns is laid out on `device`.
pub fn weight_layout(precision: Precision, cols: u32, device: &Capabilities) -> WeightLayout {
    let texels = WeightLayout::new(precision, true);
    // The software kernels bind a row of inputs as a uniform, and a whole tile of rows is the least that a part may be.
    let fits = cols.is_multiple_of(texels.run_cols())
        && product::fits_uniform(cols, device)
        && texels.most_rows(cols, device.max_binding_bytes) > 0;
    WeightLayout::new(precision, device.family == Family::Software && fits)
}

/// How keys and values are laid out on `device`.
pub fn cache_layout(format: KvFormat, heads: Heads, device: &Capabilities) -> CacheLayout {
    // Those that read textures bind a row of rotated and plain queries as a uniform.
    let texels = device.family == Family::Software && product::fits_uniform(2 * heads.q_dim(), device);
    CacheLayout::new(format, texels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Tuned, TunedOp, Tuning};

    #[test]
    fn what_was_measured_decides_as_long_as_it_is_there() {
        let (layout, shape) = (WeightLayout::Q4Rows, [1536, 576]);
        let of = TunedOp { op: "matvec".to_owned(), layout: layout.name().to_owned(), rows: 1536, cols: 576 };
        let device = |implementation: &str, workgroup| {
            let tuned = Tuned { implementation: implementation.to_owned(), workgroup };
            let tuning = Tuning::new([(of.clone(), tuned)]);
            Capabilities { tuning, ..Capabilities::baseline(Family::Gpu) }
        };
        let chosen = |device: &Capabilities, shape| {
            let (one, workgroup) = choose_product("matvec", 1, layout, shape, device).unwrap();
            (one.kernel.name, workgroup)
        };
        let usual = chosen(&Capabilities::baseline(Family::Gpu), shape);
        let tuned = device("matvec", 128);
        assert_eq!(chosen(&tuned, shape), ("matvec", Some(128)));
        assert_eq!(chosen(&tuned, [1536, 577]), usual, "another matrix");
        assert_eq!(chosen(&device("matvec", 96), shape), usual, "a workgroup that it does not offer");
        assert_eq!(chosen(&device("of_old", 128), shape), usual, "a kernel that is gone");
        assert_eq!(chosen(&device("matmul_texels", 8), shape), usual, "one that reads another layout");
        assert_eq!(chosen(&tuned.forcing("matmul", "matmul"), shape), usual, "what is forced is not tuned");

        let of = TunedOp { op: "matmul".to_owned(), ..of.clone() };
        let tuned = Tuned { implementation: "matmul_tiled".to_owned(), workgroup: 256 };
        let tuning = Tuning::new([(of, tuned)]);
        let device = Capabilities { tuning, ..Capabilities::baseline(Family::Gpu) };
        let chosen = |inputs| {
            let (one, workgroup) = choose_product("matmul", inputs, layout, shape, &device).unwrap();
            (one.kernel.name, workgroup)
        };
        assert_eq!([chosen(64), chosen(33)], [("matmul_tiled", Some(256)); 2]);
        assert_eq!([chosen(32), chosen(16)], [("matmul_tiled", None); 2], "a wide tile for a few inputs");
        assert_eq!([chosen(15), chosen(2)], [("matmul", None); 2]);
    }

    #[test]
    fn what_lies_in_texels_can_be_multiplied_wherever_a_row_of_inputs_begins() {
        let device = Capabilities::baseline(Family::Software);
        for cols in (8..20_000).step_by(8) {
            let texels = weight_layout(Precision::F16, cols, &device).is_texels();
            let most = (0..64).map(|row| product::uniform_bytes(1, cols, row * u64::from(cols) * 4)).max();
            assert_eq!(texels, most.unwrap() <= device.max_uniform_bytes, "{cols} columns");
        }
    }

    #[test]
    fn hardware_gets_runs_and_tiles_and_a_program_what_it_had() {
        let hardware = Capabilities::baseline(Family::Gpu);
        let program = Capabilities { software: true, ..hardware.clone() };
        let name = |op, inputs, layout, device| {
            choose_for(op, inputs, Layout::Weight(layout), device).unwrap().kernel.name
        };
        for (op, inputs, layout, on_hardware, on_program) in [
            ("matvec", 1, WeightLayout::Q4Rows, "matvec_runs", "matvec"),
            ("matvec", 1, WeightLayout::F32Rows, "matvec", "matvec"),
            ("gated_mlp", 1, WeightLayout::F16Rows, "gated_mlp_runs", "gated_mlp"),
            ("matmul", 15, WeightLayout::Q8Rows, "matmul", "matmul"),
            ("matmul", 16, WeightLayout::Q8Rows, "matmul_tiled", "matmul"),
            ("matmul", 64, WeightLayout::F16Texels, "matmul_texels", "matmul_texels"),
        ] {
            assert_eq!(name(op, inputs, layout, &hardware), on_hardware, "{op} of {inputs}");
            assert_eq!(name(op, inputs, layout, &program), on_program, "{op} of {inputs}");
        }
    }

    #[test]
    fn sixteen_bit_floats_are_taken_where_they_are_there_and_measured_or_asked_for() {
        let (layout, shape) = (WeightLayout::Q4Rows, [1536, 576]);
        let of = TunedOp { op: "matmul".to_owned(), layout: layout.name().to_owned(), rows: 1536, cols: 576 };
        let tuned = Tuned { implementation: "matmul_tiled_f16".to_owned(), workgroup: 256 };
        let measured = Tuning::new([(of, tuned)]);
        let chosen = |f16, software, tuning: &Tuning, inputs, layout| {
            let base = Capabilities::baseline(Family::Gpu);
            let device = Capabilities { f16, software, tuning: tuning.clone(), ..base };
            choose_product("matmul", inputs, layout, shape, &device).unwrap().0.kernel.name
        };
        let none = Tuning::default();
        for software in [false, true] {
            let usual = if software { "matmul" } else { "matmul_tiled" };
            for f16 in [F16::Off, F16::Measured] {
                assert_eq!(chosen(f16, software, &none, 64, layout), usual, "{f16:?} without a measurement");
            }
            // What was measured with the feature says nothing without it.
            assert_eq!(chosen(F16::Off, software, &measured, 64, layout), usual);
            assert_eq!(chosen(F16::Measured, software, &measured, 64, layout), "matmul_tiled_f16");
            assert_eq!(chosen(F16::Always, software, &none, 64, layout), "matmul_tiled_f16");
            assert_eq!(chosen(F16::Always, software, &none, 16, layout), "matmul_tiled_f16");
            assert_eq!(chosen(F16::Always, software, &none, 15, layout), "matmul", "too few for a tile");
        }
        assert_eq!(chosen(F16::Always, true, &none, 64, WeightLayout::F16Texels), "matmul_texels");
        for f16 in [F16::Off, F16::Measured] {
            let base = Capabilities::baseline(Family::Gpu).forcing("matmul", "matmul_tiled_f16");
            let forced = choose("matmul", Layout::Weight(layout), &Capabilities { f16, ..base });
            assert_eq!(forced.is_ok(), f16 == F16::Measured, "{f16:?}, forced");
        }
    }

    #[test]
    fn a_matrix_whose_tile_is_too_large_to_bind_lies_in_rows() {
        let device =
            Capabilities { max_binding_bytes: 1_500_000, ..Capabilities::baseline(Family::Software) };
        assert_eq!(weight_layout(Precision::F32, 8192, &device), WeightLayout::F32Rows);
        assert_eq!(weight_layout(Precision::F32, 4096, &device), WeightLayout::F32Texels);
        assert_eq!(
            weight_layout(Precision::F32, 8192, &Capabilities::baseline(Family::Software)),
            WeightLayout::F32Texels
        );
    }
}
