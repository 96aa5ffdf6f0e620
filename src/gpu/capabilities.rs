//! What decides which kernels run: the device as plain data, which can be had without a device.

use super::Tuning;

/// The two families of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// For programs on the CPU that pose as a GPU: weights and cache in textures, inputs in uniforms, one row of a matrix a lane.
    Software,
    /// For real GPUs: storage buffers, several rows a workgroup.
    Gpu,
}

impl Family {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Gpu => "gpu",
        }
    }
}

/// What becomes of the device's arithmetic on 16-bit floats (WebGPU's `shader-f16`), which some products of a prompt can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum F16 {
    /// There is none, or it was not to be used: it is not asked of the adapter.
    #[default]
    Off,
    /// Used where a measurement has found it faster ([`Tuning`]).
    Measured,
    /// Used for all products of 16 inputs and more, measured or not.
    Always,
}

/// What a device can do, as far as a kernel or a plan may depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The family of kernels that suits it, or that was asked for.
    pub family: Family,
    /// Whether the "GPU" is a program on the CPU, where small workgroups are fast and barriers are slow.
    pub software: bool,
    /// The fewest lanes of a subgroup, where kernels may use subgroup operations; else 0.
    pub subgroups: u32,
    /// What becomes of its arithmetic on 16-bit floats.
    pub f16: F16,
    /// Read textures by sampling; else as storage. Mesa's lavapipe reads the latter faster, all others the former.
    pub sampled_texels: bool,
    /// Largest range of a buffer or texture that one binding may cover, in bytes; a larger matrix is split by rows.
    pub max_binding_bytes: u64,
    /// Largest range of a buffer that a uniform binding may cover, in bytes.
    pub max_uniform_bytes: u64,
    /// An op and the implementation of it that must be taken, whatever suits the device: for tests and measurements.
    pub forced: Option<(&'static str, &'static str)>,
    /// What was measured to be fastest here.
    pub tuning: Tuning,
    /// Invocations of a workgroup, for the implementations that may be tuned to as many.
    pub workgroup: Option<u32>,
}

impl Capabilities {
    /// The smallest device that the engine runs on: WebGPU's default limits, no optional feature.
    pub fn baseline(family: Family) -> Self {
        Self {
            family,
            software: family == Family::Software,
            subgroups: 0,
            f16: F16::Off,
            sampled_texels: true,
            max_binding_bytes: 128 << 20,
            max_uniform_bytes: 64 << 10,
            forced: None,
            tuning: Tuning::default(),
            workgroup: None,
        }
    }

    /// The same device, with one op bound to one implementation.
    pub fn forcing(&self, op: &'static str, implementation: &'static str) -> Self {
        Self { forced: Some((op, implementation)), ..self.clone() }
    }
}
