//! Which implementation computes an op: the one table, and the one place that chooses.
//!
//! An op (`matvec`, `attention`, ...) is what has to be computed: it has one CPU twin, one row of tolerances and one test, which runs
//! over all its implementations. An implementation is a shader, the layouts it reads, and numbers.
//! To add one: its shader, its declaration beside the op's others, and its line in [`IMPLEMENTATIONS`].

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::cache_layout::CacheLayout;
use super::*;
use crate::gpu::pipeline::{KvFormat, Part, Variant};
use crate::gpu::{Capabilities, Dispatch, Family};
use crate::model_file::Heads;

/// Every implementation there is. Of those that can read what there is to read, the device's family decides, then whether the device is
/// hardware, then the number of inputs, of those made for so many the one made for the most, then the order here.
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
    matmul::ROWS,
    matmul::TEXELS,
    matvec::RUNS,
    matvec::ROWS,
    matvec::TEXELS,
    multiply_add::ONLY,
    Implementation::only(&nll::KERNEL, 64),
    Implementation::only(&penalize::KERNEL, MAP_WORKGROUP),
    Implementation { lanes: LANES_OF_SUMS, ..Implementation::only(&qk_norm::KERNEL, 64) },
    Implementation::only(&rms_norm::KERNEL, 64),
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

/// What an op reads, as far as its implementations differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Plain rows of floats, as of most ops.
    Plain,
    /// A weight matrix.
    Weight(WeightLayout),
    /// Keys and values.
    Cache(CacheLayout),
}

/// The most `vec4`s of a uniform that every device binds: 64 KiB.
const LONGEST_UNIFORM: u32 = 4096;

/// Invocations of a workgroup: on a software device, on a GPU.
pub type Lanes = [u32; 2];

/// For kernels whose lanes sum together. On a software device a workgroup is a loop over vectors that a barrier breaks up, so one as small
/// as its vectors is fastest; a GPU wants enough lanes to cover its latency.
pub(super) const LANES_OF_SUMS: Lanes = [8, 64];
/// Where each lane takes a run of 32 columns, half as many: a row of a small model is no more than 18 runs.
pub(super) const LANES_OF_RUNS: Lanes = [8, 32];
/// What these may be tuned to.
pub(super) const TUNED_SUMS: &[u32] = &[32, 64, 128];

/// One way to compute an op.
#[derive(Clone, Copy, Debug)]
pub struct Implementation {
    /// Its shader, and what that binds.
    pub kernel: &'static Kernel,
    /// The devices it is made for. It runs on all.
    pub family: Family,
    /// The layouts that it reads.
    pub layouts: &'static [Layout],
    /// Invocations of a workgroup, where nothing was measured.
    pub lanes: Lanes,
    /// Invocations of a workgroup that a measurement may take in their place.
    pub tunable: &'static [u32],
    /// Whether it counts on what a program that poses as a GPU has not: memory of a workgroup that is faster than other memory, and loads
    /// that go on while others wait. There another one is taken, where there is one.
    pub for_hardware: bool,
    /// The fewest inputs that it is taken for where there is another one, of attention the fewest shares of keys; it is right for any number.
    pub least_inputs: u32,
    /// Whether the lanes of a workgroup are a square, each of whose sides makes as many times `rows` and `inputs`.
    pub square: bool,
    /// Whether it reads rows of weights by the part that takes a run of columns at once.
    pub runs: bool,
    /// Lanes of the smallest subgroup it can use; with smaller ones it does without.
    pub least_subgroup: u32,
    /// A smaller workgroup, for smaller subgroups.
    pub narrow: Option<u32>,
    /// Rows of a weight matrix that one workgroup makes, as its shader says.
    pub rows: u32,
    /// Columns that one invocation makes, where each makes some of its own, as its shader says.
    pub columns: u32,
    /// How often a line with `$i` is repeated, the largest first: inputs of a product, queries of attention. Where the text has no such
    /// line, the inputs that one workgroup handles.
    pub inputs: &'static [u32],
    /// How often a line with `$c` is repeated, the largest first: texels of a head that a lane gathers.
    pub texels: &'static [u32],
    /// Whether it reads or writes keys and values by the part of their format, so that one text serves all formats.
    pub entries: bool,
}

/// Sums of four columns that a lane keeps at a time, at most; more make a text that takes a driver seconds to compile.
pub(super) const MOST_SUMS: u32 = 16;

impl Implementation {
    /// The only one of its op.
    pub const fn only(kernel: &'static Kernel, lanes: u32) -> Self {
        Self {
            kernel,
            family: Family::Gpu,
            layouts: &[Layout::Plain],
            lanes: [lanes; 2],
            tunable: &[],
            for_hardware: false,
            least_inputs: 1,
            square: false,
            runs: false,
            least_subgroup: 1,
            narrow: None,
            rows: 1,
            columns: 4,
            inputs: &[1],
            texels: &[1],
            entries: false,
        }
    }

    /// Whether it reads memory laid out so.
    pub fn reads(&self, layout: Layout) -> bool {
        self.layouts.contains(&layout)
    }

    /// The weight layouts that it reads.
    pub fn weight_layouts(&self) -> impl Iterator<Item = WeightLayout> {
        self.layouts.iter().filter_map(|layout| match layout {
            Layout::Weight(layout) => Some(*layout),
            _ => None,
        })
    }

    /// The formats of keys and values that it is linked for.
    fn formats(&self) -> Vec<Option<KvFormat>> {
        let format = |layout: &Layout| match layout {
            Layout::Cache(layout) if self.entries => Some(layout.format()),
            _ => None,
        };
        let some: Vec<_> = self.layouts.iter().map(format).filter(Option::is_some).collect();
        if some.is_empty() { vec![None] } else { some }
    }

    /// The layouts of keys and values that it reads or writes.
    pub fn cache_layouts(&self) -> impl Iterator<Item = CacheLayout> {
        self.layouts.iter().filter_map(|layout| match layout {
            Layout::Cache(layout) => Some(*layout),
            _ => None,
        })
    }

    /// [`Implementation::variant`], for keys and values that lie so.
    pub(super) fn variant_for(&self, layout: CacheLayout, device: &Capabilities) -> Variant {
        Variant { entries: self.entries.then(|| layout.format()), ..self.variant(device) }
    }

    /// [`Implementation::variant`], in workgroups of this many invocations where they were measured.
    pub(super) fn variant_of(&self, workgroup: Option<u32>, device: &Capabilities) -> Variant {
        let variant = self.variant(device);
        Variant { workgroup: workgroup.unwrap_or(variant.workgroup), ..variant }
    }

    /// The variant for a device; formats, residuals and the like are the recording's to add.
    pub(super) fn variant(&self, device: &Capabilities) -> Variant {
        let [on_software, on_gpu] = self.lanes;
        let lanes = if device.software { on_software } else { on_gpu };
        let lanes = device.workgroup.filter(|lanes| self.tunable.contains(lanes)).unwrap_or(lanes);
        let uses = |least: u32| self.kernel.uses_subgroups && device.subgroups >= least;
        let narrow = self.narrow.filter(|lanes| !uses(self.least_subgroup) && uses(*lanes));
        Variant {
            subgroups: narrow.is_some() || uses(self.least_subgroup),
            sampled: self.kernel.reads_texels() && device.sampled_texels,
            ..Variant::plain(narrow.unwrap_or(lanes))
        }
    }

    /// The WGSL by which it reads weights of this layout.
    pub(super) fn part(&self, layout: WeightLayout) -> Part {
        if self.runs { layout.part_in_runs() } else { layout.part() }
    }

    /// Rows and inputs that one workgroup of so many lanes makes, where the text makes `inputs` at once.
    pub(super) fn tile(&self, workgroup: u32, inputs: u32) -> [u32; 2] {
        let side = if self.square { workgroup.isqrt() } else { 1 };
        [self.rows * side, inputs * side]
    }

    /// Every variant that can be recorded on some device, with the longest uniform arrays for all.
    pub fn variants(&self) -> Vec<Variant> {
        let bools = |both: bool| if both { &[false, true][..] } else { &[false][..] };
        let layouts: Vec<_> = self.weight_layouts().map(Some).collect();
        let layouts = if layouts.is_empty() { vec![None] } else { layouts };
        let lanes: BTreeSet<u32> = self.lanes.iter().chain(self.tunable).copied().collect();
        let lanes: Vec<u32> = lanes.into_iter().collect();
        let mut all = Vec::new();
        for layout in layouts {
            let most = layout.map_or(u32::MAX, WeightLayout::most_inputs);
            let plain = Variant {
                weight: layout.map(|layout| self.part(layout)),
                uniform_len: LONGEST_UNIFORM,
                ..Variant::plain(0)
            };
            let some = each(vec![plain], &lanes, |v, workgroup| Variant { workgroup, ..v });
            let mut some =
                each(some, bools(self.kernel.uses_subgroups), |v, subgroups| Variant { subgroups, ..v });
            some.extend(self.narrow.map(|workgroup| Variant { workgroup, subgroups: true, ..plain }));
            let adds = self.kernel.source.contains("RESIDUAL");
            let some = each(some, bools(adds), |v, residual| Variant { residual, ..v });
            let inputs: Vec<_> = self.inputs.iter().copied().filter(|inputs| *inputs <= most).collect();
            let some = each(some, &inputs, |v, inputs| Variant { inputs, ..v });
            let some = each(some, bools(self.kernel.reads_texels()), |v, sampled| Variant { sampled, ..v });
            let mut some = each(some, self.texels, |v, texels| Variant { texels, ..v });
            let most_texels = attention::MAX_HEAD_DIM / 4;
            some.retain(|v| {
                v.texels == 1 || (v.inputs * v.texels <= MOST_SUMS && v.texels * v.workgroup <= most_texels)
            });
            let some = each(some, &self.formats(), |v, entries| Variant { entries, ..v });
            let normed: &[u32] = if self.kernel.gain.is_some() { &[0, LONGEST_UNIFORM] } else { &[0] };
            all.extend(each(some, normed, |v, gain_len| Variant { gain_len, ..v }));
        }
        all
    }
}

/// Each variant with each of the choices.
fn each<T: Copy>(
    variants: Vec<Variant>,
    choices: &[T],
    with: impl Fn(Variant, T) -> Variant + Copy,
) -> Vec<Variant> {
    variants
        .into_iter()
        .flat_map(|variant| choices.iter().map(move |choice| with(variant, *choice)))
        .collect()
}

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
/// [`GpuError::NoImplementation`] if none reads the layout, or not the one that the device is bound to.
pub fn choose_for(
    op: &'static str,
    inputs: u32,
    layout: Layout,
    device: &Capabilities,
) -> Result<&'static Implementation, GpuError> {
    let forced = device.forced.filter(|(forced, _)| *forced == op).map(|(_, name)| name);
    implementations(op)
        .filter(|one| one.reads(layout) && forced.is_none_or(|name| name == one.kernel.name))
        .min_by_key(|one| {
            let unfit = one.for_hardware && device.software;
            (one.family != device.family, unfit, inputs < one.least_inputs, Reverse(one.least_inputs))
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
        (one.reads(Layout::Weight(layout)) && may_be).then_some((one, Some(tuned.workgroup)))
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
