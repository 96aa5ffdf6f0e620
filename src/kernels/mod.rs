//! The host half of every kernel: parameters, bindings, dispatch geometry, and which implementation is taken.
//!
//! An op has one stem: `src/kernels/x.rs`, `src/reference/x.rs`, `tests/kernels/x.rs`, and `shaders/x.wgsl`, beside which lie the shaders of
//! its other implementations. `record` checks shapes and adds one dispatch (or one per weight part, or two where keys are split) to a
//! [`Recorder`](crate::gpu::Recorder). [`choose`] has the table of all implementations and chooses among them;
//! `tests/tidy.rs` and `tests/layout.rs` hold the files and the structs of both sides together.

pub mod add_bias;
pub mod adjust;
pub mod argmax;
pub mod attention;
pub mod attention_join;
mod cache_layout;
pub mod choose;
pub mod embed;
pub mod emit;
pub mod gate_mul;
pub mod gated_mlp;
mod implementation;
pub mod kv_step;
pub mod kv_write;
pub mod masked_attention;
pub mod matmul;
pub mod matvec;
pub mod multiply_add;
pub mod nll;
pub mod penalize;
pub mod product;
pub mod qk_norm;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod soft_cap;
pub mod stream;
pub mod top_logprobs;
mod weight;

use crate::gpu::pipeline::Kernel;
pub use crate::gpu::pipeline::KvFormat;
use crate::gpu::{Binding, GpuError};
pub use cache_layout::CacheLayout;
pub use choose::IMPLEMENTATIONS;
pub use implementation::{Implementation, Lanes, Layout};
pub use product::{Inputs, Norm, Product, Update};
pub use weight::{Precision, Unfit, Weight, WeightFormat, WeightLayout, WeightPart};

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

/// One workgroup for each row of a step, of which there are few.
fn per_row(kernel: &'static str, rows: u32) -> Result<[u32; 3], GpuError> {
    match spread(kernel, rows.into())? {
        [x, 0 | 1, z] => Ok([x, 1, z]),
        _ => Err(GpuError::Shape { kernel, what: "rows", got: rows.into(), need: 65_535 }),
    }
}

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
