//! How long the device itself worked: timestamps at the edges of compute passes, where the adapter has them.
//!
//! Off unless asked for. Then each pass writes two numbers into a query set, and the host reads them all at the end, so that what is
//! measured is not waited for in between. A submit is a pass; where kernels are to be told apart, each dispatch is.

use std::time::Duration;

use super::pipeline::{KvFormat, Variant};
use super::recording::Dispatch;
use super::{BufferRequest, Gpu, GpuError, Readback, Submission, lock};

/// Timestamps that one query set holds, WebGPU's limit; a pass takes two.
const MOST_STAMPS: u32 = 4096;
/// Bytes of a timestamp.
const STAMP_BYTES: u64 = 8;
/// Query sets, at most: 131,072 passes, two megabytes of timestamps.
const MOST_SETS: usize = 64;

/// What is timed as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timed {
    /// A submit, as it is without timing.
    Submits,
    /// A dispatch, so that kernels can be told apart. Each is then waited for, which costs time between them.
    Dispatches,
}

/// What is written while passes are timed.
pub(super) struct Timer {
    pub(super) timed: Timed,
    /// All but the last are full.
    sets: Vec<wgpu::QuerySet>,
    /// Timestamps asked for so far.
    used: u32,
    /// Passes there was no room for.
    missed: u32,
    /// The kernel of each pass and what it reads, where each is a dispatch.
    kernels: Vec<(&'static str, &'static str)>,
}

impl Timer {
    /// What the next pass is told to write, of one dispatch where there is one; `None` where there is no room left.
    pub(super) fn next_pass(
        &mut self,
        device: &wgpu::Device,
        dispatch: Option<&Dispatch>,
    ) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let first = self.used % MOST_STAMPS;
        if first == 0 {
            if self.sets.len() == MOST_SETS {
                self.missed += 1;
                return None;
            }
            self.sets.push(device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times of passes"),
                ty: wgpu::QueryType::Timestamp,
                count: MOST_STAMPS,
            }));
        }
        self.used += 2;
        self.kernels.extend(dispatch.map(|one| (one.kernel.name, layout_of(&one.variant))));
        Some(wgpu::ComputePassTimestampWrites {
            query_set: self.sets.last()?,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }
}

/// How long the device worked on the dispatches of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTime {
    /// Name of the implementation.
    pub kernel: &'static str,
    /// What it reads, of weights or of the cache; `plain` for all else.
    pub layout: &'static str,
    /// Its dispatches.
    pub dispatches: u32,
    /// From the beginning to the end of each, summed.
    pub busy: Duration,
}

/// How long the device worked on the passes that were timed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassTimes {
    /// Passes timed.
    pub passes: u32,
    /// Passes that there was no room for; with any, `busy` is not the whole.
    pub missed: u32,
    /// From the beginning to the end of each pass, summed.
    pub busy: Duration,
    /// Kernel by kernel, the longest first; empty unless [`Timed::Dispatches`] was asked for.
    pub kernels: Vec<KernelTime>,
}

impl Gpu {
    /// Whether passes can be timed here.
    pub fn has_timestamps(&self) -> bool {
        self.shared.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Times all submits from now on, at most 131,072 passes. Without effect where the adapter has no timestamps.
    pub fn start_timing(&self, timed: Timed) {
        if self.has_timestamps() {
            let (sets, kernels) = (Vec::new(), Vec::new());
            *lock(&self.shared.timer) = Some(Timer { timed, sets, used: 0, missed: 0, kernels });
        }
    }

    /// Ends what [`Gpu::start_timing`] began, and reads the times, waiting for the passes. `None` where none was begun, or no pass was
    /// timed.
    ///
    /// # Errors
    /// The device is gone, has reported an error, or has no room for what is read.
    pub async fn stop_timing(&self) -> Result<Option<PassTimes>, GpuError> {
        let Some(timer) = lock(&self.shared.timer).take().filter(|timer| timer.used > 0) else {
            return Ok(None);
        };
        let bytes = u64::from(timer.used) * STAMP_BYTES;
        let staging = self.allocate(&[BufferRequest::readback("times of passes", bytes)]).await?.remove(0);
        let device = &self.shared.device;
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("times of passes"),
            size: bytes,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        for (set, first) in timer.sets.iter().zip((0..timer.used).step_by(MOST_STAMPS as usize)) {
            let stamps = 0..(timer.used - first).min(MOST_STAMPS);
            encoder.resolve_query_set(set, stamps, &resolved, u64::from(first) * STAMP_BYTES);
        }
        encoder.copy_buffer_to_buffer(&resolved, 0, &self.raw_buffer(&staging)?, 0, bytes);
        let submission = Submission(self.shared.queue.submit([encoder.finish()]));
        let read = Readback::new(staging).take(self, bytes, submission).await?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&read);
        let period = f64::from(self.shared.queue.get_timestamp_period());
        let times: Vec<_> = stamps
            .chunks_exact(2)
            .map(|pass| Duration::from_nanos((pass[1].saturating_sub(pass[0]) as f64 * period) as u64))
            .collect();
        Ok(Some(PassTimes {
            passes: timer.used / 2,
            missed: timer.missed,
            busy: times.iter().sum(),
            kernels: by_kernel(&timer.kernels, &times),
        }))
    }
}

/// A name for what a kernel reads, of weights or of the cache; `plain` for all else.
fn layout_of(variant: &Variant) -> &'static str {
    variant.weight.map(|part| part.name).or(variant.entries.map(KvFormat::name)).unwrap_or("plain")
}

/// The times of dispatches, summed for each kernel, the longest first.
fn by_kernel(kernels: &[(&'static str, &'static str)], times: &[Duration]) -> Vec<KernelTime> {
    let mut sums: Vec<KernelTime> = Vec::new();
    for ((kernel, layout), time) in kernels.iter().zip(times) {
        match sums.iter_mut().find(|sum| (sum.kernel, sum.layout) == (*kernel, *layout)) {
            Some(sum) => {
                sum.dispatches += 1;
                sum.busy += *time;
            }
            None => sums.push(KernelTime { kernel, layout, dispatches: 1, busy: *time }),
        }
    }
    sums.sort_by_key(|sum| std::cmp::Reverse(sum.busy));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_by_kernel_and_layout() {
        let ns = Duration::from_nanos;
        let kernels = [("rope", "plain"), ("matvec", "q4"), ("matvec", "q8"), ("matvec", "q4")];
        let sums = by_kernel(&kernels, &[ns(5), ns(2), ns(3), ns(4)]);
        let of = |sum: &KernelTime| (sum.kernel, sum.layout, sum.dispatches, sum.busy);
        assert_eq!(
            sums.iter().map(of).collect::<Vec<_>>(),
            [("matvec", "q4", 2, ns(6)), ("rope", "plain", 1, ns(5)), ("matvec", "q8", 1, ns(3))]
        );
    }
}
