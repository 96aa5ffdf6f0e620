//! Which adapter: listing, choosing and opening one.

use super::{Capabilities, F16, Family, GpuError, Tuning};

/// How to open a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Index in [`list_adapters`] or part of a name, in any case, that only one has. `None` takes the best: discrete, integrated, virtual, other, software.
    pub select: Option<String>,
    /// Ask for WebGPU's default limits and no optional feature, as the smallest device of all has them.
    pub baseline: bool,
    /// Lower the binding limit to this many bytes, so that weights are split as on a smaller device.
    pub max_binding_bytes: Option<u64>,
    /// Take this family of kernels. `None` takes the one that suits the adapter's type.
    pub family: Option<Family>,
    /// Whether products of prompts may be computed in 16-bit floats. `None` is [`F16::Measured`] on adapters that can, else [`F16::Off`].
    pub f16: Option<F16>,
}

/// What `killick devices` prints of an adapter.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AdapterDescription {
    /// Position in the list.
    pub index: usize,
    /// Name the driver gives.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `cpu` or `other`.
    pub device_type: String,
    /// Driver name.
    pub driver: String,
    /// Driver version, as the driver writes it.
    pub driver_info: String,
    /// PCI vendor id.
    pub vendor: u32,
    /// PCI device id.
    pub device: u32,
    /// Optional features this engine can use here.
    pub features: Vec<&'static str>,
    /// Smallest and largest subgroup.
    pub subgroup_sizes: [u32; 2],
    /// Largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// Largest storage binding, in bytes.
    pub max_binding_bytes: u64,
    /// Storage buffers per shader stage.
    pub max_storage_buffers: u32,
    /// Workgroup memory, in bytes.
    pub max_workgroup_bytes: u32,
    /// Invocations per workgroup.
    pub max_invocations: u32,
    /// Whether it offers WebGPU's default limits, which is all the engine needs.
    pub usable: bool,
}

impl AdapterDescription {
    /// Whether the adapter is a program on the CPU.
    pub fn is_software(&self) -> bool {
        self.device_type == "cpu"
    }

    /// The family of kernels that suits it.
    pub fn family(&self) -> Family {
        if self.is_software() { Family::Software } else { Family::Gpu }
    }
}

/// The optional features the engine knows how to use.
const FEATURES: [(wgpu::Features, &str); 3] = [
    (wgpu::Features::SUBGROUP, "subgroups"),
    (wgpu::Features::TIMESTAMP_QUERY, "timestamps"),
    // wgpu offers it on DX12 with DXC alone: FXC knows no 16-bit floats.
    (wgpu::Features::SHADER_F16, F16_FEATURE),
];
/// What [`AdapterDescription::features`] calls arithmetic on 16-bit floats.
const F16_FEATURE: &str = "shader-f16";

/// A binding below this cannot hold one row of a real vocabulary's logits.
const LEAST_BINDING_BYTES: u64 = 64 << 10;

/// A binding above this is more than the engine asks for, whatever the adapter offers: Metal computes wrong results with bindings
/// of 4 GiB and more (wgpu 10305), and offsets in a shader are 32-bit. Weights that are larger are cut into parts anyway.
const MOST_BINDING_BYTES: u64 = (4 << 30) - 256;

pub(super) struct Opened {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) adapter: AdapterDescription,
    pub(super) capabilities: Capabilities,
}

/// All adapters of this machine, in the driver loader's order. In the browser: the one it offers.
pub async fn list_adapters() -> Vec<AdapterDescription> {
    adapters().await.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(instance_descriptor());
    #[cfg(not(target_arch = "wasm32"))]
    return instance.enumerate_adapters(wgpu::Backends::all()).await;
    #[cfg(target_arch = "wasm32")]
    return instance
        .request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        })
        .await
        .into_iter()
        .collect();
}

fn instance_descriptor() -> wgpu::InstanceDescriptor {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN
        | wgpu::Backends::METAL
        | wgpu::Backends::DX12
        | wgpu::Backends::BROWSER_WEBGPU;
    descriptor.flags = wgpu::InstanceFlags::from_build_config().with_env();
    // FXC is a part of Windows. Left to itself, wgpu loads whatever `dxcompiler.dll` lies on the path, and takes a warning of
    // an old one for an error. `WGPU_DX12_COMPILER=dxc` asks for it.
    descriptor.backend_options.dx12.shader_compiler = wgpu::Dx12Compiler::Fxc.with_env();
    descriptor
}

/// The limit of a binding that the device is opened with.
fn binding_limit(offered: u64, asked: Option<u64>, adapter: &str) -> Result<u64, GpuError> {
    let most = offered.min(MOST_BINDING_BYTES);
    let asked = asked.unwrap_or(most);
    // An adapter that offers less than the least is taken as it is.
    if (LEAST_BINDING_BYTES..=most).contains(&asked) || asked == most {
        return Ok(asked);
    }
    Err(GpuError::BindingLimit { asked, least: LEAST_BINDING_BYTES, most, adapter: adapter.to_owned() })
}

/// The names of those that the engine knows how to use.
fn named(features: wgpu::Features) -> Vec<&'static str> {
    FEATURES.iter().filter(|(feature, _)| features.contains(*feature)).map(|(_, name)| *name).collect()
}

/// What becomes of 16-bit floats on an adapter that has them, or has not.
fn f16_of(options: &GpuOptions, is_there: bool, of: &AdapterDescription) -> Result<F16, GpuError> {
    let asked = options.f16.unwrap_or(F16::Measured);
    let why = match options.family.unwrap_or(of.family()) {
        _ if asked != F16::Always => return Ok(if is_there { asked } else { F16::Off }),
        Family::Software => "the kernels of family software cannot, those of family gpu can",
        Family::Gpu if is_there => return Ok(asked),
        Family::Gpu if options.baseline => "the baseline has no shader-f16",
        Family::Gpu => "it has no shader-f16",
    };
    Err(GpuError::NoF16 { adapter: of.name.clone(), why })
}

fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterDescription {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    AdapterDescription {
        index,
        name: info.name,
        backend: match info.backend {
            wgpu::Backend::BrowserWebGpu => "webgpu".to_owned(),
            other => format!("{other:?}").to_lowercase(),
        },
        device_type: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "cpu",
            wgpu::DeviceType::Other => "other",
        }
        .to_owned(),
        driver: info.driver,
        driver_info: info.driver_info,
        vendor: info.vendor,
        device: info.device,
        features: named(features),
        subgroup_sizes: [info.subgroup_min_size, info.subgroup_max_size],
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        usable: wgpu::Limits::default().check_limits(&limits),
    }
}

/// Rank for the default choice; smaller is better.
fn rank(description: &AdapterDescription) -> usize {
    let kind = &description.device_type;
    let place = ["discrete", "integrated", "virtual", "other", "cpu"].iter().position(|other| other == kind);
    place.unwrap_or_else(|| unreachable!("`describe` knows no device of type {kind:?}"))
}

fn choose(list: &[AdapterDescription], select: Option<&str>) -> Result<usize, GpuError> {
    let Some(wanted) = select else {
        let best = list.iter().filter(|d| d.usable).min_by_key(|d| (rank(d), d.index));
        return best.map(|d| d.index).ok_or(GpuError::NoAdapter);
    };
    if list.is_empty() {
        return Err(GpuError::NoAdapter);
    }
    let available =
        || list.iter().map(|d| format!("{} {:?}", d.index, d.name)).collect::<Vec<_>>().join(", ");
    let wanted = wanted.trim();
    let lower = wanted.to_lowercase();
    // A number is an index and never a part of a name: "--gpu 1" must not take a "GeForce 1080" because there is no second GPU.
    let is_number = wanted.bytes().all(|byte| byte.is_ascii_digit());
    let named: Vec<&AdapterDescription> = match (wanted, is_number) {
        ("", _) => Vec::new(),
        (_, true) => list.iter().filter(|d| wanted.parse() == Ok(d.index)).collect(),
        _ => list.iter().filter(|d| d.name.to_lowercase().contains(&lower)).collect(),
    };
    let whole: Vec<_> = named.iter().copied().filter(|d| d.name.to_lowercase() == lower).collect();
    match (named.as_slice(), whole.as_slice()) {
        ([one], _) | (_, [one]) => Ok(one.index),
        ([], _) => Err(GpuError::NoSuchAdapter { wanted: wanted.to_owned(), available: available() }),
        _ => Err(GpuError::AmbiguousAdapter { wanted: wanted.to_owned(), available: available() }),
    }
}

pub(super) async fn open(options: &GpuOptions) -> Result<Opened, GpuError> {
    let adapters = adapters().await;
    let list: Vec<_> = adapters.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect();
    let index = choose(&list, options.select.as_deref())?;
    let (adapter, mut description) = (&adapters[index], list[index].clone());

    let wanted = FEATURES.iter().fold(wgpu::Features::empty(), |all, (feature, _)| all | *feature);
    let mut features = if options.baseline { wgpu::Features::empty() } else { adapter.features() & wanted };
    let f16 = f16_of(options, features.contains(wgpu::Features::SHADER_F16), &description)?;
    features.set(wgpu::Features::SHADER_F16, f16 != F16::Off);
    let mut limits = if options.baseline { wgpu::Limits::default() } else { adapter.limits() };
    limits.max_storage_buffer_binding_size =
        binding_limit(limits.max_storage_buffer_binding_size, options.max_binding_bytes, &description.name)?;
    let max_binding_bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) & !255;
    // What a shader's array is sized by, so the same everywhere.
    let max_uniform_bytes = limits.max_uniform_buffer_binding_size.min(64 << 10);
    description.features = named(features);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("killick"),
        required_features: features,
        required_limits: limits,
        experimental_features: wgpu::ExperimentalFeatures::disabled(),
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    };
    let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| GpuError::NoDevice {
        adapter: description.name.clone(),
        message: error.to_string(),
    })?;
    let [least_subgroup, _] = description.subgroup_sizes;
    let capabilities = Capabilities {
        family: options.family.unwrap_or(description.family()),
        software: description.is_software(),
        subgroups: if features.contains(wgpu::Features::SUBGROUP) { least_subgroup.max(1) } else { 0 },
        f16,
        sampled_texels: description.driver != "llvmpipe",
        max_binding_bytes,
        max_uniform_bytes,
        forced: None,
        tuning: Tuning::default(),
        workgroup: None,
    };
    Ok(Opened { device, queue, adapter: description, capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dx12_compiles_with_fxc_unless_the_environment_says_otherwise() {
        let chosen = instance_descriptor().backend_options.dx12.shader_compiler;
        let asked = wgpu::Dx12Compiler::from_env().unwrap_or(wgpu::Dx12Compiler::Fxc);
        assert_eq!(std::mem::discriminant(&chosen), std::mem::discriminant(&asked));
        assert!(!matches!(chosen, wgpu::Dx12Compiler::Auto));
    }

    #[test]
    fn a_gpu_is_named_by_its_index_or_by_what_only_it_is_called() {
        let names = ["GeForce 1080", "llvmpipe (LLVM 15)", "Arc A770", "Arc A770 Pro"];
        let list: Vec<AdapterDescription> =
            names.iter().enumerate().map(|(i, name)| called(i, name)).collect();
        let chosen = |wanted| choose(&list, Some(wanted));
        for (wanted, index) in
            [("0", 0), (" 3 ", 3), ("LLVM", 1), ("geforce", 0), ("arc a770", 2), ("pro", 3)]
        {
            assert_eq!(chosen(wanted).unwrap(), index, "{wanted}");
        }
        // No name holds a number that is meant as an index.
        for wanted in ["4", "15", "1080", "", " ", "radeon", "-1"] {
            let error = chosen(wanted).unwrap_err();
            assert!(matches!(error, GpuError::NoSuchAdapter { .. }), "{wanted:?}: {error}");
            assert!(error.to_string().contains("0 \"GeForce 1080\", 1 \"llvmpipe"), "{error}");
        }
        let error = chosen("arc").unwrap_err();
        assert!(matches!(error, GpuError::AmbiguousAdapter { .. }), "{error}");
        assert!(matches!(choose(&[], Some("0")), Err(GpuError::NoAdapter)));
    }

    fn called(index: usize, name: &str) -> AdapterDescription {
        AdapterDescription {
            index,
            name: name.to_owned(),
            backend: "vulkan".to_owned(),
            device_type: "discrete".to_owned(),
            driver: String::new(),
            driver_info: String::new(),
            vendor: 0,
            device: 0,
            features: Vec::new(),
            subgroup_sizes: [32, 32],
            max_buffer_bytes: 1 << 30,
            max_binding_bytes: 1 << 30,
            max_storage_buffers: 8,
            max_workgroup_bytes: 16384,
            max_invocations: 256,
            usable: true,
        }
    }

    #[test]
    fn f16_is_used_where_it_is_there_and_not_forbidden() {
        let adapter = called(0, "a GPU");
        let of = |f16, family, is_there| {
            f16_of(&GpuOptions { f16, family: Some(family), ..GpuOptions::default() }, is_there, &adapter)
        };
        for asked in [None, Some(F16::Off), Some(F16::Measured)] {
            assert_eq!(of(asked, Family::Gpu, false).unwrap(), F16::Off);
            assert_eq!(of(asked, Family::Gpu, true).unwrap(), asked.unwrap_or(F16::Measured));
        }
        assert_eq!(of(Some(F16::Always), Family::Gpu, true).unwrap(), F16::Always);
        for (family, is_there, word) in
            [(Family::Gpu, false, "no shader-f16"), (Family::Software, true, "family gpu can")]
        {
            let error = of(Some(F16::Always), family, is_there).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(named(wgpu::Features::SHADER_F16), [F16_FEATURE]);
    }

    #[test]
    fn a_binding_stays_below_4_gib() {
        let limit = |offered, asked| binding_limit(offered, asked, "a GPU");
        assert_eq!(limit(128 << 20, None).unwrap(), 128 << 20);
        assert_eq!(limit(1 << 40, None).unwrap(), MOST_BINDING_BYTES);
        assert_eq!(limit(u64::MAX, Some(1 << 20)).unwrap(), 1 << 20);
        assert_eq!(limit(4 << 30, None).unwrap() >> 32, 0);
        for asked in [1, LEAST_BINDING_BYTES - 1, 4 << 30, 1 << 40] {
            let error = limit(1 << 40, Some(asked)).unwrap_err();
            assert!(matches!(error, GpuError::BindingLimit { most: MOST_BINDING_BYTES, .. }), "{error}");
        }
    }
}
