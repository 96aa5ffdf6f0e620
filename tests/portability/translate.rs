//! A module in the languages of all backends, with the options that wgpu-hal 30.0.1 gives naga. What a value is taken from:
//! `create_pipeline_layout` and `load_shader` of `metal`, `dx12`, `vulkan` and `gles`, with wgpu's default runtime checks.

use std::collections::BTreeMap;

use naga::back::{TaskDispatchLimits, glsl, hlsl, msl, spv, wgsl};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::ModuleInfo;
use naga::{Module, ShaderStage};

use crate::slots::Slots;

/// Versions of Metal's language: the oldest that has subgroups, macOS 14's, the newest that wgpu takes.
const METAL: [(u8, u8); 3] = [(2, 3), (3, 1), (4, 0)];
/// What FXC takes, and the oldest and a newer one of DXC.
const DX12: [hlsl::ShaderModel; 3] =
    [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_0, hlsl::ShaderModel::V6_7];
/// The same where a kernel computes in 16-bit floats: they begin with shader model 6.2, and wgpu offers them with DXC alone. FXC's 5.1 has
/// none, so it is shown no such kernel.
const DX12_F16: [hlsl::ShaderModel; 2] = [hlsl::ShaderModel::V6_2, hlsl::ShaderModel::V6_7];
/// Vulkan 1.1 without robust buffers and images, Vulkan 1.3 with.
const VULKAN: [((u8, u8), BoundsCheckPolicy); 2] =
    [((1, 3), BoundsCheckPolicy::Restrict), ((1, 6), BoundsCheckPolicy::Unchecked)];

/// One file for a compiler.
pub(crate) struct File {
    /// Folder by language; for HLSL by shader model, since another compiler takes each.
    pub(crate) folder: String,
    pub(crate) ending: &'static str,
    /// The entry point in that language.
    pub(crate) entry: String,
    pub(crate) bytes: Vec<u8>,
}

/// How a variant is translated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) subgroups: bool,
    /// Whether it computes in 16-bit floats.
    pub(crate) f16: bool,
    /// What the pipelines of `src/gpu/pipeline.rs` say; anything else is a planted fault.
    pub(crate) zero_workgroup_memory: bool,
}

fn policies(all: BoundsCheckPolicy, image_load: BoundsCheckPolicy) -> BoundsCheckPolicies {
    BoundsCheckPolicies { index: all, buffer: all, image_load, binding_array: BoundsCheckPolicy::Unchecked }
}

/// Every translation, or the first that fails.
pub(crate) fn translate(module: &Module, info: &ModuleInfo, options: Options) -> Result<Vec<File>, String> {
    let entry = module.entry_points[0].name.clone();
    let slots = Slots::of(module);
    // WebGPU is given the text itself, so of this only the success counts.
    wgsl::write_string(module, info, wgsl::WriterFlags::empty()).map_err(|e| format!("WGSL: {e}"))?;
    let mut files = Vec::new();
    for version in METAL {
        files.push(metal(module, info, &slots, &entry, version, options)?);
    }
    for &model in if options.f16 { &DX12_F16[..] } else { &DX12[..] } {
        // Wave operations begin with shader model 6; wgpu offers no subgroups with FXC.
        if model >= hlsl::ShaderModel::V6_0 || !options.subgroups {
            files.push(dx12(module, info, &slots, &entry, model, options)?);
        }
    }
    for (version, policy) in VULKAN {
        files.push(vulkan(module, info, &slots, &entry, version, policy, options)?);
    }
    // OpenGL ES 3.1 has neither.
    if !options.subgroups && !options.f16 {
        files.push(gl(module, info, &slots, &entry, options)?);
    }
    Ok(files)
}

fn metal(
    module: &Module,
    info: &ModuleInfo,
    slots: &Slots,
    entry: &str,
    version: (u8, u8),
    options: Options,
) -> Result<File, String> {
    let what = format!("MSL {}.{}", version.0, version.1);
    let writer = msl::Options {
        lang_version: version,
        per_entry_point_map: BTreeMap::from([(entry.to_owned(), slots.metal.clone())]),
        inline_samplers: Vec::new(),
        spirv_cross_compatibility: false,
        fake_missing_bindings: false,
        bounds_check_policies: policies(BoundsCheckPolicy::Restrict, BoundsCheckPolicy::Restrict),
        zero_initialize_workgroup_memory: options.zero_workgroup_memory,
        force_loop_bounding: true,
        task_dispatch_limits: None,
        mesh_shader_primitive_indices_clamp: true,
        emit_int_div_checks: true,
        ray_query_initialization_tracking: true,
    };
    let pipeline = msl::PipelineOptions {
        entry_point: Some((ShaderStage::Compute, entry.to_owned())),
        allow_and_force_point_size: false,
        vertex_pulling_transform: true,
        vertex_buffer_mappings: Vec::new(),
        binding_array_length_map: Default::default(),
    };
    let (text, names) =
        msl::write_string(module, info, &writer, &pipeline).map_err(|e| format!("{what}: {e}"))?;
    let entry = name(&names.entry_point_names[0], &what)?;
    Ok(File {
        folder: format!("msl-{}.{}", version.0, version.1),
        ending: "metal",
        entry,
        bytes: text.into(),
    })
}

fn dx12(
    module: &Module,
    info: &ModuleInfo,
    slots: &Slots,
    entry: &str,
    shader_model: hlsl::ShaderModel,
    options: Options,
) -> Result<File, String> {
    let what = format!("HLSL {}", shader_model.to_str());
    let writer = hlsl::Options {
        shader_model,
        binding_map: slots.dx12.clone(),
        fake_missing_bindings: false,
        special_constants_binding: Some(slots.dx12_constants),
        immediates_target: None,
        zero_initialize_workgroup_memory: options.zero_workgroup_memory,
        restrict_indexing: true,
        force_loop_bounding: true,
        task_dispatch_limits: Some(NO_MESHES),
        mesh_shader_primitive_indices_clamp: true,
        ray_query_initialization_tracking: true,
        // No samplers, no external textures, no dynamic storage buffers.
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, entry.to_owned())) };
    let mut text = String::new();
    let names = hlsl::Writer::new(&mut text, &writer, &pipeline)
        .write(module, info, None)
        .map_err(|e| format!("{what}: {e}"))?;
    let entry = name(&names.entry_point_names[0], &what)?;
    // `tools/portability/dxc.py` compiles these with the flag that wgpu-hal gives DXC on a device with 16-bit floats.
    let f16 = if options.f16 { "-f16" } else { "" };
    let folder = format!("hlsl-{}{f16}", shader_model.to_str());
    Ok(File { folder, ending: "hlsl", entry, bytes: text.into() })
}

/// Of no consequence for compute; wgpu-hal says the device's.
const NO_MESHES: TaskDispatchLimits =
    TaskDispatchLimits { max_mesh_workgroups_per_dim: 0, max_mesh_workgroups_total: 0 };

fn vulkan(
    module: &Module,
    info: &ModuleInfo,
    slots: &Slots,
    entry: &str,
    version: (u8, u8),
    unless_robust: BoundsCheckPolicy,
    options: Options,
) -> Result<File, String> {
    let mut bounds = policies(unless_robust, unless_robust);
    bounds.index = BoundsCheckPolicy::Restrict;
    let zeroing = match options.zero_workgroup_memory {
        true => spv::ZeroInitializeWorkgroupMemoryMode::Polyfill,
        false => spv::ZeroInitializeWorkgroupMemoryMode::None,
    };
    let writer = spv::Options {
        lang_version: version,
        flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
        fake_missing_bindings: false,
        binding_map: slots.vulkan.clone(),
        bounds_check_policies: bounds,
        zero_initialize_workgroup_memory: zeroing,
        force_loop_bounding: true,
        emit_int_div_checks: true,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: entry.to_owned() };
    let what = format!("SPIR-V {}.{}", version.0, version.1);
    let words = spv::write_vec(module, info, &writer, Some(&pipeline)).map_err(|e| format!("{what}: {e}"))?;
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(File {
        folder: format!("spv-{}.{}", version.0, version.1),
        ending: "spv",
        entry: entry.to_owned(),
        bytes,
    })
}

fn gl(
    module: &Module,
    info: &ModuleInfo,
    slots: &Slots,
    entry: &str,
    options: Options,
) -> Result<File, String> {
    let writer = glsl::Options {
        version: glsl::Version::new_gles(310),
        writer_flags: glsl::WriterFlags::ADJUST_COORDINATE_SPACE | glsl::WriterFlags::FORCE_POINT_SIZE,
        binding_map: slots.gl.clone(),
        zero_initialize_workgroup_memory: options.zero_workgroup_memory,
    };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: entry.to_owned(),
        multiview: None,
    };
    let unchecked = policies(BoundsCheckPolicy::Unchecked, BoundsCheckPolicy::Unchecked);
    let mut text = String::new();
    glsl::Writer::new(&mut text, module, info, &writer, &pipeline, unchecked)
        .and_then(|mut writer| writer.write())
        .map_err(|e| format!("GLSL: {e}"))?;
    Ok(File { folder: "glsl-310es".to_owned(), ending: "comp", entry: "main".to_owned(), bytes: text.into() })
}

fn name<E: std::fmt::Display>(name: &Result<String, E>, what: &str) -> Result<String, String> {
    match name {
        Ok(name) => Ok(name.clone()),
        Err(e) => Err(format!("{what}: {e}")),
    }
}
