//! Device to host: one staging buffer, mapped when the copy into it has run.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::{Buffer, Gpu, GpuError, lock};

/// A staging buffer for reading results; part of the session's plan, made once.
#[derive(Clone, Debug)]
pub struct Readback {
    staging: Buffer,
}

impl Readback {
    /// Wraps a buffer made with [`BufferUse::Readback`](super::BufferUse::Readback).
    pub fn new(staging: Buffer) -> Self {
        Self { staging }
    }

    /// The staging buffer, as target of [`Recorder::read`](super::Recorder::read).
    pub fn buffer(&self) -> &Buffer {
        &self.staging
    }

    /// Waits for the submitted copy and returns the first `bytes` bytes (rounded up to whole words by the caller).
    ///
    /// # Errors
    /// The device is gone, reported an error, or `bytes` is more than the staging buffer holds.
    pub async fn take(&self, gpu: &Gpu, bytes: u64) -> Result<Vec<u8>, GpuError> {
        if bytes > self.staging.size() || !bytes.is_multiple_of(4) {
            return Err(GpuError::OutOfRange {
                buffer: self.staging.label().to_owned(),
                offset: 0,
                bytes,
                size: self.staging.size(),
            });
        }
        if bytes == 0 {
            return Ok(Vec::new());
        }
        lock(&gpu.shared.counters).readbacks += 1;
        let slice = self.staging.raw.slice(0..bytes);
        let done = OneShot::default();
        let signal = done.clone();
        slice.map_async(wgpu::MapMode::Read, move |result| signal.set(result.map_err(|e| e.to_string())));
        // Natively nothing else drives the callback; in the browser this is a no-op and the event loop does.
        gpu.shared
            .device
            .poll(wgpu::PollType::wait_indefinitely())
            .map_err(|error| GpuError::Device { message: error.to_string() })?;
        let mapped = done.await;
        gpu.check()?;
        mapped.map_err(|message| GpuError::Device { message })?;
        let data = slice
            .get_mapped_range()
            .map_err(|error| GpuError::Device { message: error.to_string() })?
            .to_vec();
        self.staging.raw.unmap();
        Ok(data)
    }
}

/// A value that a callback delivers once, as a future.
struct OneShot<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Default for OneShot<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }
}

impl<T> Clone for OneShot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> OneShot<T> {
    fn set(&self, value: T) {
        let mut state = lock(&self.0);
        state.0 = Some(value);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for OneShot<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.0);
        match state.0.take() {
            Some(value) => Poll::Ready(value),
            None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
