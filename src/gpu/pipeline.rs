//! Kernels as the device sees them: source, bindings and the pipelines compiled from them.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Gpu, lock};

/// How a kernel touches a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    ReadWrite,
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

/// One kernel: what the four files of a stem have in common.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The stem: file name, entry point, name in counters and messages.
    pub name: &'static str,
    /// Text of `shaders/<name>.wgsl`.
    pub source: &'static str,
    /// The uniform at binding 0.
    pub params: ParamsLayout,
    /// Storage bindings 1, 2, ... in order.
    pub bindings: &'static [Access],
    /// Whether it calls `load_weight4`, so that a weight part must be linked.
    pub uses_weight: bool,
    /// Whether it calls `reduce_add4`, so that a reduction part must be linked.
    pub uses_reduce: bool,
    /// Whether that part is the one with subgroup operations where a device has them.
    pub uses_subgroups: bool,
    /// The workgroups it is dispatched with, on one device or another.
    pub workgroups: &'static [u32],
}

/// Storage format of a weight matrix on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floats.
    #[default]
    F32,
    /// Pairs of 16-bit floats in a `u32`; arithmetic stays 32-bit.
    F16,
}

impl WeightFormat {
    /// Bytes of one weight.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The choices that make one pipeline out of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Invocations per workgroup.
    pub workgroup: u32,
    /// Format of the weights, for kernels that read some.
    pub weight: WeightFormat,
    /// Reduce across lanes with subgroup operations instead of a tree in workgroup memory.
    pub subgroups: bool,
    /// Add to the output instead of replacing it.
    pub residual: bool,
}

impl Variant {
    /// A plain variant of this many invocations.
    pub fn plain(workgroup: u32) -> Self {
        Self { workgroup, weight: WeightFormat::F32, subgroups: false, residual: false }
    }
}

pub(super) type PipelineKey = (&'static str, Variant);

/// A compiled kernel variant.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// What the entry point of a kernel takes for the part that reduces, and what it takes if that part uses subgroups. naga 30 gives
/// HLSL no value for the subgroup built-ins inside `Lanes` unless the entry point has one as an argument of its own.
const LANES: &str = "lanes: Lanes)";
const LANES_AND_SUBGROUP: &str = "lanes: Lanes, @builtin(subgroup_size) subgroup_size: u32)";

impl Kernel {
    /// Every variant that the engine dispatches on some device; [`Recorder::dispatch`](super::Recorder::dispatch) takes no other.
    pub fn variants(&self) -> Vec<Variant> {
        let mut variants = Vec::new();
        for &workgroup in self.workgroups {
            for weight in [WeightFormat::F32, WeightFormat::F16] {
                for subgroups in [false, true] {
                    for residual in [false, true] {
                        variants.push(Variant { workgroup, weight, subgroups, residual });
                    }
                }
            }
        }
        variants.retain(|variant| self.has(variant));
        variants
    }

    pub(super) fn has(&self, variant: &Variant) -> bool {
        self.workgroups.contains(&variant.workgroup)
            && (self.uses_weight || variant.weight == WeightFormat::F32)
            && (self.uses_subgroups || !variant.subgroups)
            && (!variant.residual || self.source.contains("if RESIDUAL"))
    }

    /// The complete WGSL of a variant: constants, the kernel and the parts it is linked with.
    /// A part is chosen by the function it must define, and WGSL allows declarations in any order, so concatenation links.
    pub fn compose(&self, variant: &Variant) -> String {
        let mut text = format!(
            "const WORKGROUP: u32 = {}u;\nconst RESIDUAL: bool = {};\n",
            variant.workgroup, variant.residual
        );
        if self.uses_reduce && variant.subgroups {
            let entry = self.source.find(&format!("fn {}(", self.name)).unwrap_or_default();
            let (before, entry) = self.source.split_at_checked(entry).unwrap_or((self.source, ""));
            text.push_str(before);
            text.push_str(&entry.replacen(LANES, LANES_AND_SUBGROUP, 1));
        } else {
            text.push_str(self.source);
        }
        if self.uses_weight {
            text.push_str(match variant.weight {
                WeightFormat::F32 => include_str!("../../shaders/shared/weight_f32.wgsl"),
                WeightFormat::F16 => include_str!("../../shaders/shared/weight_f16.wgsl"),
            });
        }
        if self.uses_reduce {
            text.push_str(if variant.subgroups {
                include_str!("../../shaders/shared/reduce_subgroup.wgsl")
            } else {
                include_str!("../../shaders/shared/reduce_tree.wgsl")
            });
        }
        text
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
        let layout = self.bind_group_layout(kernel.bindings);
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
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

    /// Kernels with the same bindings share a layout, and so may share bind groups.
    fn bind_group_layout(&self, bindings: &[Access]) -> wgpu::BindGroupLayout {
        let mut layouts = lock(&self.shared.layouts);
        if let Some(layout) = layouts.get(bindings) {
            return layout.clone();
        }
        let entry = |binding, ty, has_dynamic_offset| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        };
        let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, true)];
        entries.extend((1..).zip(bindings).map(|(binding, access)| {
            let read_only = *access == Access::Read;
            entry(binding, wgpu::BufferBindingType::Storage { read_only }, false)
        }));
        let layout = self
            .shared
            .device
            .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries });
        layouts.insert(bindings.to_vec(), layout.clone());
        layout
    }
}
