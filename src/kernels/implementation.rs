//! One way to compute an op, as data: its shader, what it reads, what it needs of a device, and the variants that can be recorded of it.

use std::collections::BTreeSet;

use super::cache_layout::CacheLayout;
use super::*;
use crate::gpu::pipeline::{KvFormat, Part, Variant};
use crate::gpu::{Capabilities, F16, Family};

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
    /// Whether it computes in 16-bit floats. A device without them never builds it, and one that has them takes it where a measurement has
    /// found it faster, or where it was asked for, because its results are less exact.
    pub needs_f16: bool,
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
            needs_f16: false,
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

    /// Whether this device can run it.
    pub fn runs_on(&self, device: &Capabilities) -> bool {
        !self.needs_f16 || device.f16 != F16::Off
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
