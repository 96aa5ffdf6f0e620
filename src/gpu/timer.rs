//! How long the device itself worked: timestamps at the edges of compute passes, where the adapter has them.
//!
//! Off unless asked for. Then each pass writes two numbers into a query set, and the host reads them all at the end, so that what is
//! measured is not waited for in between.

use std::time::Duration;

use super::{BufferRequest, Gpu, GpuError, Readback, Submission, lock};

/// Timestamps that one query set holds, WebGPU's limit; a pass takes two.
const MOST_STAMPS: u32 = 4096;
/// Bytes of a timestamp.
const STAMP_BYTES: u64 = 8;

/// What is written while passes are timed.
pub(super) struct Timer {
    queries: wgpu::QuerySet,
    /// Timestamps asked for so far.
    used: u32,
    /// Passes there was no room for.
    missed: u32,
}

impl Timer {
    /// What the next pass is told to write; `None` where there is no room left.
    pub(super) fn next_pass(&mut self) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        if self.used + 2 > MOST_STAMPS {
            self.missed += 1;
            return None;
        }
        let first = self.used;
        self.used += 2;
        Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }
}

/// How long the device worked on the passes that were timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassTimes {
    /// Passes timed.
    pub passes: u32,
    /// Passes that there was no room for; with any, `busy` is not the whole.
    pub missed: u32,
    /// From the beginning to the end of each pass, summed.
    pub busy: Duration,
}

impl Gpu {
    /// Whether passes can be timed here.
    pub fn has_timestamps(&self) -> bool {
        self.shared.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Times the passes of all submits from now on, at most 2,048 of them. Without effect where the adapter has no timestamps.
    pub fn start_timing(&self) {
        if !self.has_timestamps() {
            return;
        }
        let queries = self.shared.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("times of passes"),
            ty: wgpu::QueryType::Timestamp,
            count: MOST_STAMPS,
        });
        *lock(&self.shared.timer) = Some(Timer { queries, used: 0, missed: 0 });
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
        encoder.resolve_query_set(&timer.queries, 0..timer.used, &resolved, 0);
        encoder.copy_buffer_to_buffer(&resolved, 0, &self.raw_buffer(&staging)?, 0, bytes);
        let submission = Submission(self.shared.queue.submit([encoder.finish()]));
        let read = Readback::new(staging).take(self, bytes, submission).await?;
        let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&read);
        let ticks = stamps.chunks_exact(2).map(|pass| pass[1].saturating_sub(pass[0])).sum::<u64>();
        let nanoseconds = ticks as f64 * f64::from(self.shared.queue.get_timestamp_period());
        Ok(Some(PassTimes {
            passes: timer.used / 2,
            missed: timer.missed,
            busy: Duration::from_nanos(nanoseconds as u64),
        }))
    }
}
