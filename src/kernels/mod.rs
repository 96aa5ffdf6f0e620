//! The host half of every kernel: parameters, bindings, dispatch geometry.
//!
//! A kernel is four files with one stem: `shaders/x.wgsl`, `src/kernels/x.rs`, `src/reference/x.rs`, `tests/kernels/x.rs`.
//! `record` checks shapes and adds one dispatch (or one per weight part) to a [`Recorder`](crate::gpu::Recorder).
//! [`KERNELS`] lists them all; `tests/tidy.rs` and `tests/layout.rs` hold the files and the structs of both sides together.

pub mod add_bias;
pub mod adjust;
pub mod argmax;
pub mod attention;
pub mod embed;
pub mod emit;
pub mod gated_mlp;
pub mod kv_step;
pub mod kv_write;
pub mod masked_attention;
pub mod matmul;
pub mod matvec;
pub mod nll;
pub mod penalize;
pub mod qk_norm;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod silu_mul;
pub mod top_logprobs;
mod weight;

use crate::gpu::pipeline::{Kernel, Variant};
use crate::gpu::{Binding, Gpu, GpuError};
pub use weight::{Weight, WeightPart};

/// Every kernel there is.
pub const KERNELS: &[&Kernel] = &[
    &add_bias::KERNEL,
    &adjust::KERNEL,
    &argmax::KERNEL,
    &attention::KERNEL,
    &embed::KERNEL,
    &emit::KERNEL,
    &gated_mlp::KERNEL,
    &kv_step::KERNEL,
    &kv_write::KERNEL,
    &masked_attention::KERNEL,
    &matmul::KERNEL,
    &matvec::KERNEL,
    &nll::KERNEL,
    &penalize::KERNEL,
    &qk_norm::KERNEL,
    &rms_norm::KERNEL,
    &rope::KERNEL,
    &sample::KERNEL,
    &silu_mul::KERNEL,
    &top_logprobs::KERNEL,
];

/// Declares a parameter struct (scalars only, a multiple of 16 bytes) with the layout that the test compares with WGSL.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name { $(pub(crate) $field: $ty),* }

        impl $name {
            pub(crate) const LAYOUT: $crate::gpu::pipeline::ParamsLayout = $crate::gpu::pipeline::ParamsLayout {
                name: stringify!($name),
                size: size_of::<Self>(),
                fields: &[$((stringify!($field), core::mem::offset_of!($name, $field))),*],
            };
        }
    };
}
pub(crate) use params;

/// `n` workgroups over two dimensions, because one alone allows 65,535. The kernel drops the surplus.
fn spread(kernel: &'static str, n: u64) -> Result<[u32; 3], GpuError> {
    const MOST: u64 = 65_535;
    let x = n.min(MOST);
    let y = if x == 0 { 0 } else { n.div_ceil(x) };
    match (u32::try_from(x), u32::try_from(y)) {
        (Ok(x), Ok(y)) if u64::from(y) <= MOST => Ok([x, y, 1]),
        _ => Err(GpuError::Shape { kernel, what: "number of workgroups", got: n, need: MOST * MOST }),
    }
}

/// Refuses a binding too small for what the kernel will touch.
fn need(kernel: &'static str, what: &'static str, binding: Binding<'_>, bytes: u64) -> Result<(), GpuError> {
    if binding.size() < bytes {
        return Err(GpuError::Shape { kernel, what, got: binding.size(), need: bytes });
    }
    Ok(())
}

/// Refuses a dimension the kernel cannot handle.
fn multiple_of_4(kernel: &'static str, what: &'static str, value: u32) -> Result<u32, GpuError> {
    if value == 0 || !value.is_multiple_of(4) {
        return Err(GpuError::Shape { kernel, what, got: value.into(), need: 4 });
    }
    Ok(value / 4)
}

/// Lanes for kernels that only map elements.
const MAP_WORKGROUP: u32 = 64;

/// Lanes of a kernel whose lanes sum together, on a software device and on a GPU.
const REDUCING_WORKGROUPS: &[u32] = &[SOFTWARE_LANES, GPU_LANES];
const SOFTWARE_LANES: u32 = 8;
const GPU_LANES: u32 = 64;

/// The variant for kernels whose lanes sum together. On a software device a workgroup is a loop over
/// vectors that a barrier breaks up, so one as small as its vectors is fastest; a GPU wants enough lanes to
/// cover its latency.
pub(crate) fn reducing(gpu: &Gpu) -> Variant {
    let workgroup = if gpu.is_software() { SOFTWARE_LANES } else { GPU_LANES };
    Variant { subgroups: gpu.subgroups(), ..Variant::plain(workgroup) }
}
