//! What the device can do at best: the bandwidth of a kernel that only reads, and the arithmetic of one that only multiplies and adds.
//!
//! Measured on the device itself, because what is printed on its box is neither reached by any program nor the same for two machines
//! with the same device. A model's kernels do more than these, so that 100 % is out of reach, but for caches: what fits in one is read faster.

use std::time::Duration;

use super::BenchError;
use super::timing::{Timed, repeat};
use crate::gpu::{BufferRequest, Gpu, GpuError, Recorder, Recording};
use crate::kernels::stream::{self, Walk};
use crate::kernels::{CacheLayout, multiply_add};
use crate::model_file::Heads;

/// The best rates that the device has reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Bytes read a second.
    pub bytes_per_second: f64,
    /// 32-bit multiplications and additions a second.
    pub flops_per_second: f64,
}

/// Bytes read at a time, as far as one binding holds as many: several times what caches hold.
const BYTES_ON_GPU: u64 = 512 << 20;
/// The same on a software device, where a pass takes its time.
const BYTES_ON_SOFTWARE: u64 = 64 << 20;
/// Vectors of four in a row of the texture or buffer that is read.
const ROW: u32 = 256;
/// Invocations: enough for every core there is, few enough that each has much to do.
const LANES_ON_GPU: u32 = 1 << 18;
const LANES_ON_SOFTWARE: u32 = 1 << 10;
/// Rounds of multiplications and additions.
const ROUNDS_ON_GPU: u32 = 4096;
const ROUNDS_ON_SOFTWARE: u32 = 16_384;
/// What a is multiplied with and what is added: a sign that changes keeps the numbers bounded and apart.
const BY: [f32; 2] = [-0.999, 1.25];
/// How long each is repeated, at least.
const LONG: Duration = Duration::from_millis(200);

/// Measures both.
///
/// # Errors
/// The device, or memory that it has not.
pub async fn ceilings(gpu: &Gpu) -> Result<Ceilings, BenchError> {
    let mut bytes_per_second = 0.0_f64;
    for layout in [CacheLayout::F32Rows, CacheLayout::F32Texels] {
        // A GPU may have a slow path for textures, and nobody reads weights through it there.
        if layout == CacheLayout::F32Rows || gpu.is_software() {
            bytes_per_second = bytes_per_second.max(bandwidth(gpu, layout).await?);
        }
    }
    Ok(Ceilings { bytes_per_second, flops_per_second: arithmetic(gpu).await? })
}

async fn bandwidth(gpu: &Gpu, layout: CacheLayout) -> Result<f64, BenchError> {
    let (most, lanes) =
        if gpu.is_software() { (BYTES_ON_SOFTWARE, LANES_ON_SOFTWARE) } else { (BYTES_ON_GPU, LANES_ON_GPU) };
    let row_bytes = u64::from(ROW) * 16;
    let rows = (most.min(layout.most_bytes(gpu.max_binding_bytes())) / row_bytes).max(1);
    let requests = [
        layout.request("bandwidth x", rows, Heads { n_heads: 1, n_kv_heads: 1, head_dim: ROW * 4 }),
        BufferRequest::storage("bandwidth out", u64::from(lanes) * 16),
    ];
    let made = gpu.allocate(&requests).await?;
    let [x, out] = &made[..] else { unreachable!("two were asked for") };
    // Memory that nobody has written may not be there at all yet.
    let piece = vec![1.0_f32; (ROW * 4 * 256) as usize];
    let bytes: &[u8] = bytemuck::cast_slice(&piece);
    for first in (0..rows * row_bytes).step_by(bytes.len()) {
        let rest = (rows * row_bytes - first).min(bytes.len() as u64);
        gpu.upload(x, first, &bytes[..rest as usize])?;
    }
    gpu.idle().await?;
    let count = (rows * row_bytes / 4) as u32;
    let best = best(gpu, |rec| stream::record(rec, x, out, count, walk(gpu, lanes))).await?;
    Ok((rows * row_bytes) as f64 / best)
}

/// How `lanes` lanes go through memory: all side by side on a GPU; on a software device eight, as one workgroup there has, so that each
/// reads in order.
pub(super) fn walk(gpu: &Gpu, lanes: u32) -> Walk {
    Walk { lanes, width: if gpu.is_software() { 8 } else { lanes } }
}

async fn arithmetic(gpu: &Gpu) -> Result<f64, BenchError> {
    let (lanes, rounds) = if gpu.is_software() {
        (LANES_ON_SOFTWARE, ROUNDS_ON_SOFTWARE)
    } else {
        (LANES_ON_GPU, ROUNDS_ON_GPU)
    };
    let bytes = u64::from(lanes) * 16;
    let requests = ["arithmetic x", "arithmetic out"].map(|label| BufferRequest::storage(label, bytes));
    let made = gpu.allocate(&requests).await?;
    let [x, out] = &made[..] else { unreachable!("two were asked for") };
    let numbers: Vec<f32> = (0..4 * lanes).map(|i| (i % 97) as f32 / 97.0).collect();
    gpu.upload(x, 0, bytemuck::cast_slice(&numbers))?;
    let best = best(gpu, |rec| multiply_add::record(rec, x, out, (lanes, rounds), BY)).await?;
    Ok(multiply_add::operations(lanes, rounds) as f64 / best)
}

/// Seconds of the fastest repetition; a ceiling is what was reached at all.
async fn best(
    gpu: &Gpu,
    record: impl FnOnce(&mut Recorder) -> Result<(), GpuError>,
) -> Result<f64, BenchError> {
    let mut rec = Recorder::new(gpu.capabilities());
    record(&mut rec)?;
    let recording: Recording = rec.finish();
    let Timed { seconds, device_seconds, .. } = repeat(gpu, recording, LONG, 5, None).await?;
    let fastest = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(device_seconds.map_or(fastest, |device| device.min(fastest)).max(1e-9))
}
