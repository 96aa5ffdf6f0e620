//! Kernels as the device sees them: source, bindings and the pipelines compiled from them.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::expand::{Counts, expand};
use super::{BufferUse, Gpu, lock};

/// How a kernel touches a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
    /// `var<uniform>`.
    Uniform,
    /// A texture of integers that is read.
    Words,
    /// A texture of floats that is read.
    Floats,
    /// A texture of floats that is written.
    FloatsOut,
    /// A texture of 16-bit floats that is read.
    Halves,
    /// A texture of 16-bit floats that is written.
    HalvesOut,
    /// A texture of signed bytes that is read.
    Bytes,
    /// A texture of signed bytes that is written.
    BytesOut,
}

impl Access {
    /// Whether memory of this use can be bound so.
    pub fn takes(self, usage: BufferUse) -> bool {
        match self {
            Self::Read | Self::ReadWrite => {
                matches!(usage, BufferUse::Storage | BufferUse::Pairs | BufferUse::Bytes)
            }
            Self::Uniform => usage == BufferUse::Storage,
            Self::Words => usage == BufferUse::Words,
            Self::Floats | Self::FloatsOut => usage == BufferUse::Floats,
            Self::Halves | Self::HalvesOut => usage == BufferUse::Halves,
            Self::Bytes | Self::BytesOut => usage == BufferUse::ByteTexels,
        }
    }

    /// What a binding of keys or values is where they are kept in this format.
    fn of_entries(self, format: KvFormat) -> Self {
        match (self, format) {
            (Self::Floats, KvFormat::F16) => Self::Halves,
            (Self::FloatsOut, KvFormat::F16) => Self::HalvesOut,
            (Self::Floats, KvFormat::Q8_0) => Self::Bytes,
            (Self::FloatsOut, KvFormat::Q8_0) => Self::BytesOut,
            _ => self,
        }
    }
}

/// How the numbers of keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats, half the memory. A number is rounded once, when it is made; all arithmetic is 32-bit.
    F16,
    /// Signed bytes, with a 32-bit scale behind each head of an entry: little more than a quarter of the memory. A head is rounded once, when
    /// it is made; all arithmetic is 32-bit.
    Q8_0,
}

impl KvFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Fours of a head: vectors of four columns and, behind them, its scale where it has one.
    pub fn fours(self, head_dim: u32) -> u32 {
        match self {
            Self::F32 | Self::F16 => head_dim / 4,
            Self::Q8_0 => head_dim / 4 + 1,
        }
    }

    /// Bytes of so many heads of one entry: of its key, or of its value.
    pub fn bytes(self, heads: u32, head_dim: u32) -> u64 {
        let four = match self {
            Self::F32 => 16,
            Self::F16 => 8,
            Self::Q8_0 => 4,
        };
        u64::from(heads) * u64::from(self.fours(head_dim)) * four
    }

    /// What reads and writes the numbers in a shader.
    fn part(self) -> &'static str {
        match self {
            Self::F32 => include_str!("../../shaders/shared/entry_f32.wgsl"),
            Self::F16 => include_str!("../../shaders/shared/entry_f16.wgsl"),
            Self::Q8_0 => include_str!("../../shaders/shared/entry_q8.wgsl"),
        }
    }

    /// The format of textures of them, as WGSL says it.
    fn texels(self) -> &'static str {
        match self {
            Self::F32 => "rgba32float",
            Self::F16 => "rgba16float",
            Self::Q8_0 => "rgba8sint",
        }
    }

    /// What a texel of them is made of where it is sampled.
    fn component(self) -> &'static str {
        match self {
            Self::F32 | Self::F16 => "f32",
            Self::Q8_0 => "i32",
        }
    }
}

/// Name, byte offset of a field of a parameter struct.
pub type FieldLayout = (&'static str, usize);

/// The Rust side of a WGSL parameter struct, compared with the shader by a test.
#[derive(Clone, Copy, Debug)]
pub struct ParamsLayout {
    /// Name of the struct in WGSL.
    pub name: &'static str,
    /// Size in bytes, a multiple of 16.
    pub size: usize,
    /// Its fields.
    pub fields: &'static [FieldLayout],
}

/// The shader of one implementation of an op, and what it binds.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The op: stem of the CPU twin, of its test and of its row of tolerances.
    pub op: &'static str,
    /// The implementation: file name, entry point, name in counters and messages.
    pub name: &'static str,
    /// Text of `shaders/<name>.wgsl`.
    pub source: &'static str,
    /// The uniform at binding 0.
    pub params: ParamsLayout,
    /// Bindings 1, 2, ... in order.
    pub bindings: &'static [Access],
    /// Names of the bound weight matrices; the part that reads the weight's layout is linked once for each.
    pub weights: &'static [&'static str],
    /// Whether it calls `reduce_add4`, so that a reduction part must be linked.
    pub uses_reduce: bool,
    /// What its lanes share, if by a part that must be linked.
    pub shares: Option<Shared>,
    /// How the gain is bound, behind all else, in variants that normalize what they read; `None` for kernels that cannot.
    pub gain: Option<Access>,
    /// Whether one of these parts is the one with subgroup operations where a device has them.
    pub uses_subgroups: bool,
}

/// How the lanes of a workgroup come by what they all need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Inputs of weights, by `x_at`: each lane reads what it needs.
    Lanes,
    /// Inputs of weights, by `share_of_x`: all lanes need the same.
    Inputs,
    /// Scores, weights and places of keys, by `most_of_lanes` and `told$k`.
    Keys,
}

/// A piece of WGSL that reads one layout of weights, with `NAME` in place of the binding's name.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What a variant is told apart by.
    pub name: &'static str,
    /// The text.
    pub source: &'static str,
    /// Fours of columns that it reads at once: how often a line with `$n` is repeated; `FOURS` in the shader.
    pub fours: u32,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Part {}

impl Hash for Part {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The choices that make one pipeline out of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Invocations per workgroup.
    pub workgroup: u32,
    /// What reads the weights, for kernels that read some.
    pub weight: Option<Part>,
    /// Reduce across lanes, or hand inputs round, with subgroup operations.
    pub subgroups: bool,
    /// Add to the output instead of replacing it.
    pub residual: bool,
    /// How often a line of the shader that names `$i` is repeated; `INPUTS` in the shader.
    pub inputs: u32,
    /// How often a line of the shader that names `$c` is repeated: texels of a head that a lane gathers; `TEXELS` in the
    /// shader.
    pub texels: u32,
    /// Length of the uniform array, in `vec4`s, for kernels that say `UNIFORM_LEN`.
    pub uniform_len: u32,
    /// Read textures by sampling instead of as storage.
    pub sampled: bool,
    /// Length of the gain, in `vec4`s, where the inputs are normalized (RMSNorm) on the way; else 0. `NORM` in the shader.
    pub gain_len: u32,
    /// How keys and values are kept, for kernels that read or write them by a linked part.
    pub entries: Option<KvFormat>,
}

impl Variant {
    /// A plain variant of this many invocations.
    pub fn plain(workgroup: u32) -> Self {
        Self {
            workgroup,
            weight: None,
            subgroups: false,
            residual: false,
            inputs: 1,
            texels: 1,
            uniform_len: 1,
            sampled: false,
            gain_len: 0,
            entries: None,
        }
    }
}

pub(super) type PipelineKey = (&'static str, Variant);

/// How the bindings of a pipeline are accessed; kernels that access theirs alike share one.
#[derive(Clone, Debug)]
pub(super) struct BindingsLayout {
    pub(super) id: u32,
    pub(super) raw: wgpu::BindGroupLayout,
}

/// A compiled kernel variant.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: BindingsLayout,
}

/// What a shader says, behind its header, that computes in 16-bit floats. WGSL wants it before all else.
const ENABLE_F16: &str = "enable f16;";

/// What the entry point of a kernel takes for the part that reduces, and what it takes if that part uses subgroups. naga 30 gives
/// HLSL no value for the subgroup built-ins inside `Lanes` unless the entry point has one as an argument of its own.
const LANES_OF_ENTRY: &str = "lanes: Lanes)";
const LANES_AND_SUBGROUP: &str = "lanes: Lanes, @builtin(subgroup_size) subgroup_size: u32)";

impl Kernel {
    /// Whether it reads a texture.
    pub fn reads_texels(&self) -> bool {
        self.bindings.iter().any(|access| matches!(access, Access::Words | Access::Floats))
    }

    fn touches_texels(&self) -> bool {
        self.reads_texels() || self.bindings.contains(&Access::FloatsOut)
    }

    /// Whether it computes in 16-bit floats, so that a device needs `shader-f16` for it.
    pub fn enables_f16(&self) -> bool {
        self.source.contains(ENABLE_F16)
    }

    /// By whose row of `docs/numerics.md` its results are judged: the op's, or its own where it is less exact.
    pub fn judged_as(&self) -> &'static str {
        if self.enables_f16() { self.name } else { self.op }
    }

    /// What a variant binds: 1, 2, ... in order.
    pub fn bound(&self, variant: &Variant) -> Vec<Access> {
        let gain = self.gain.filter(|_| variant.gain_len > 0);
        let format = variant.entries.unwrap_or_default();
        self.bindings.iter().map(|access| access.of_entries(format)).chain(gain).collect()
    }

    /// The declaration of the gain: the binding, or a stand-in where there is none and no code reads it.
    fn declared_gain(&self, gain_len: u32) -> String {
        let at = self.bindings.len() + 1;
        match self.gain.filter(|_| gain_len > 0) {
            Some(Access::Uniform) => {
                format!("@group(0) @binding({at}) var<uniform> gain: array<vec4<f32>, {gain_len}>;\n")
            }
            Some(_) => format!("@group(0) @binding({at}) var<storage, read> gain: array<vec4<f32>>;\n"),
            None => "var<private> gain: array<vec4<f32>, 1>;\n".to_owned(),
        }
    }

    /// The complete WGSL of a variant: constants, the kernel and the parts it is linked with.
    /// A part is chosen by the function it must define, and WGSL allows declarations in any order, so concatenation links.
    pub fn compose(&self, variant: &Variant) -> String {
        let Variant { workgroup, residual, inputs, texels, uniform_len, .. } = variant;
        let mut text = if self.enables_f16() { ENABLE_F16.to_owned() } else { String::new() };
        text.push_str(&format!(
            "const WORKGROUP: u32 = {workgroup}u;\nconst RESIDUAL: bool = {residual};\n\
             const INPUTS: u32 = {inputs}u;\nconst TEXELS: u32 = {texels}u;\nconst UNIFORM_LEN: u32 = {uniform_len}u;\n"
        ));
        let fours = variant.weight.map_or(1, |part| part.fours);
        if variant.weight.is_some() {
            text.push_str(&format!("const FOURS: u32 = {fours}u;\n"));
        }
        let counts = Counts {
            inputs: *inputs,
            fours,
            texels: *texels,
            lanes: *workgroup,
            // Where textures are sampled, each load is so much text that a driver takes minutes and gigabytes over eight times as much.
            unrolled: variant.subgroups && !variant.sampled,
        };
        let source = expand(&self.source.replacen(ENABLE_F16, "", 1), &counts);
        text.push_str(&if variant.subgroups {
            source.replacen(LANES_OF_ENTRY, LANES_AND_SUBGROUP, 1)
        } else {
            source
        });
        if let Some(part) = variant.weight {
            for name in self.weights {
                text.push_str(&part.source.replace("NAME", name));
            }
        }
        if self.uses_reduce {
            text.push_str(if variant.subgroups {
                include_str!("../../shaders/shared/reduce_subgroup.wgsl")
            } else {
                include_str!("../../shaders/shared/reduce_tree.wgsl")
            });
        }
        if let Some(shared) = self.shares {
            if shared != Shared::Keys {
                let norm = variant.gain_len > 0;
                let gain = self.declared_gain(variant.gain_len);
                text.push_str(&format!("const NORM: bool = {norm};\n{gain}"));
            }
            let part = match (shared, variant.subgroups, fours) {
                (Shared::Lanes, ..) => include_str!("../../shaders/shared/x_rows.wgsl"),
                (Shared::Inputs, false, _) => include_str!("../../shaders/shared/x_uniform.wgsl"),
                (Shared::Inputs, true, 2) => include_str!("../../shaders/shared/x_subgroup.wgsl"),
                (Shared::Inputs, true, _) => include_str!("../../shaders/shared/x_subgroup_blocks.wgsl"),
                (Shared::Keys, false, _) => include_str!("../../shaders/shared/tile_memory.wgsl"),
                (Shared::Keys, true, _) if counts.unrolled => {
                    include_str!("../../shaders/shared/tile_subgroup.wgsl")
                }
                (Shared::Keys, true, _) => include_str!("../../shaders/shared/tile_shuffle.wgsl"),
            };
            let first = self.weights.first().copied().unwrap_or_default();
            text.push_str(&expand(&part.replace("FIRST", first), &counts));
        }
        if let Some(format) = variant.entries {
            text.push_str(format.part());
        }
        if self.touches_texels() {
            text.push_str(include_str!("../../shaders/shared/texels.wgsl"));
            text.push_str(if variant.sampled {
                include_str!("../../shaders/shared/texels_sampled.wgsl")
            } else {
                include_str!("../../shaders/shared/texels_storage.wgsl")
            });
        }
        text.replace("$level", if variant.sampled { ", 0" } else { "" })
            .replace("$format", variant.entries.unwrap_or_default().texels())
            .replace("$component", variant.entries.unwrap_or_default().component())
    }
}

impl Gpu {
    pub(super) fn pipeline(&self, kernel: &Kernel, variant: Variant) -> Arc<Pipeline> {
        let key = (kernel.name, variant);
        if let Some(pipeline) = lock(&self.shared.pipelines).get(&key) {
            return pipeline.clone();
        }
        let device = &self.shared.device;
        let label = format!("{} {variant:?}", kernel.name);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(Cow::Owned(kernel.compose(&variant))),
        });
        let layout = self.bindings_layout(&kernel.bound(&variant), variant.sampled && kernel.reads_texels());
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout.raw)],
            immediate_size: 0,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.name),
            // Every kernel writes its workgroup memory before it reads it. FXC, the compiler of DX12, takes up to a minute over
            // the zeroing that nobody needs.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        lock(&self.shared.counters).pipelines += 1;
        let pipeline = Arc::new(Pipeline { raw, layout });
        lock(&self.shared.pipelines).insert(key, pipeline.clone());
        pipeline
    }

    /// Kernels that access their bindings alike share a layout, and so may share bind groups.
    fn bindings_layout(&self, bindings: &[Access], sampled: bool) -> BindingsLayout {
        let mut layouts = lock(&self.shared.layouts);
        let key = (bindings.to_vec(), sampled);
        if let Some(layout) = layouts.get(&key) {
            return layout.clone();
        }
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let buffer = |ty, has_dynamic_offset| wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            min_binding_size: None,
        };
        let mut entries = vec![entry(0, buffer(wgpu::BufferBindingType::Uniform, true))];
        entries.extend((1..).zip(bindings).map(|(binding, access)| {
            let ty = match access {
                Access::Read => buffer(wgpu::BufferBindingType::Storage { read_only: true }, false),
                Access::ReadWrite => buffer(wgpu::BufferBindingType::Storage { read_only: false }, false),
                Access::Uniform => buffer(wgpu::BufferBindingType::Uniform, false),
                Access::Words if sampled => sampled_texels(wgpu::TextureSampleType::Uint),
                Access::Bytes if sampled => sampled_texels(wgpu::TextureSampleType::Sint),
                Access::Floats | Access::Halves if sampled => {
                    sampled_texels(wgpu::TextureSampleType::Float { filterable: false })
                }
                Access::Words => {
                    storage_texels(wgpu::TextureFormat::Rgba32Uint, wgpu::StorageTextureAccess::ReadOnly)
                }
                Access::Floats => {
                    storage_texels(wgpu::TextureFormat::Rgba32Float, wgpu::StorageTextureAccess::ReadOnly)
                }
                Access::FloatsOut => {
                    storage_texels(wgpu::TextureFormat::Rgba32Float, wgpu::StorageTextureAccess::WriteOnly)
                }
                Access::Halves => {
                    storage_texels(wgpu::TextureFormat::Rgba16Float, wgpu::StorageTextureAccess::ReadOnly)
                }
                Access::HalvesOut => {
                    storage_texels(wgpu::TextureFormat::Rgba16Float, wgpu::StorageTextureAccess::WriteOnly)
                }
                Access::Bytes => {
                    storage_texels(wgpu::TextureFormat::Rgba8Sint, wgpu::StorageTextureAccess::ReadOnly)
                }
                Access::BytesOut => {
                    storage_texels(wgpu::TextureFormat::Rgba8Sint, wgpu::StorageTextureAccess::WriteOnly)
                }
            };
            entry(binding, ty)
        }));
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        let raw = self.shared.device.create_bind_group_layout(&descriptor);
        let layout = BindingsLayout { id: layouts.len() as u32, raw };
        layouts.insert(key, layout.clone());
        layout
    }
}

fn sampled_texels(sample_type: wgpu::TextureSampleType) -> wgpu::BindingType {
    wgpu::BindingType::Texture {
        sample_type,
        view_dimension: wgpu::TextureViewDimension::D2,
        multisampled: false,
    }
}

fn storage_texels(format: wgpu::TextureFormat, access: wgpu::StorageTextureAccess) -> wgpu::BindingType {
    wgpu::BindingType::StorageTexture { access, format, view_dimension: wgpu::TextureViewDimension::D2 }
}
