//! Device to host: staging buffers, mapped when the copy into them has run.
//!
//! A read is begun right after its submit and taken later, so that other submits can be under way meanwhile. Whoever waits for it is
//! woken: natively by a thread that waits for the device, in the browser by the event loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use web_time::Instant;

use super::{Buffer, Gpu, GpuError, Submission, lock};

/// A staging buffer for reading results; part of the session's plan, made once.
#[derive(Clone, Debug)]
pub struct Readback {
    staging: Buffer,
    given_up: GivenUp,
}

/// A read that was dropped before it arrived. Its buffer must stay as it is until then: the GPU library would otherwise map a later
/// read of the same buffer as soon as the earlier submit has run, with what that one left there.
type GivenUp = Arc<Mutex<Option<PendingWork>>>;

impl Readback {
    /// Wraps a buffer made with [`BufferUse::Readback`](super::BufferUse::Readback).
    pub fn new(staging: Buffer) -> Self {
        Self { staging, given_up: GivenUp::default() }
    }

    /// Waits until no earlier read is under way. Must be awaited before a submit that copies into this buffer.
    ///
    /// # Errors
    /// The device is gone or reported an error.
    pub async fn settle(&self) -> Result<(), GpuError> {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await
    }

    /// [`Readback::settle`], for a future written by hand.
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<(), GpuError>> {
        let mut given_up = lock(&self.given_up);
        let Some(work) = given_up.as_mut() else { return Poll::Ready(Ok(())) };
        let Poll::Ready(result) = Pin::new(&mut *work).poll(cx) else { return Poll::Pending };
        let staging = work.gpu.raw_buffer(&self.staging);
        *given_up = None;
        staging?.unmap();
        Poll::Ready(result.map(drop))
    }

    /// The staging buffer, as target of [`Recorder::read`](super::Recorder::read).
    pub fn buffer(&self) -> &Buffer {
        &self.staging
    }

    /// Asks for the first `bytes` bytes (whole words) as soon as `submission`, which copies into this buffer, has run. Until the
    /// read is taken, or was dropped and the buffer is [settled](Readback::settle), nothing else may be copied here.
    ///
    /// # Errors
    /// `bytes` is zero, no whole number of words, or more than the staging buffer holds.
    pub fn begin(&self, gpu: &Gpu, bytes: u64, submission: Submission) -> Result<PendingRead, GpuError> {
        if bytes > self.staging.size() || !bytes.is_multiple_of(4) || bytes == 0 {
            return Err(GpuError::OutOfRange {
                buffer: self.staging.label().to_owned(),
                offset: 0,
                bytes,
                size: self.staging.size(),
            });
        }
        lock(&gpu.shared.counters).readbacks += 1;
        let arrival = Arc::default();
        let signal = Arrival::signal(&arrival);
        gpu.raw_buffer(&self.staging)?.slice(0..bytes).map_async(wgpu::MapMode::Read, signal);
        gpu.poll()?;
        let work = PendingWork { gpu: gpu.clone(), arrival, submission };
        Ok(PendingRead { work, staging: self.staging.clone(), bytes, given_up: self.given_up.clone() })
    }

    /// Waits for `submission` and returns the first `bytes` bytes (whole words).
    ///
    /// # Errors
    /// As [`Readback::begin`], but nothing may be asked for; the device is gone or reported an error.
    pub async fn take(&self, gpu: &Gpu, bytes: u64, submission: Submission) -> Result<Vec<u8>, GpuError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        Ok(self.begin(gpu, bytes, submission)?.await?.0)
    }
}

/// When the device was done, once it is; and who waits for it.
#[derive(Default)]
struct Arrival {
    result: Option<Result<Instant, String>>,
    waker: Option<Waker>,
    /// Whether the thread that waits for the device knows of it.
    #[cfg(not(target_arch = "wasm32"))]
    awaited: bool,
}

impl Arrival {
    /// The callback that notes what happened and when.
    fn signal<E: ToString>(this: &Arc<Mutex<Self>>) -> impl FnOnce(Result<(), E>) + Send + use<E> {
        let this = this.clone();
        move |result| {
            let mut arrival = lock(&this);
            arrival.result = Some(result.map(|()| Instant::now()).map_err(|error| error.to_string()));
            if let Some(waker) = arrival.waker.take() {
                waker.wake();
            }
        }
    }
}

/// A submit under way: a future of the moment when the device was done with it. To poll it takes no time.
#[derive(Clone)]
pub struct PendingWork {
    gpu: Gpu,
    arrival: Arc<Mutex<Arrival>>,
    submission: Submission,
}

impl Gpu {
    /// The end of a submit that was just made.
    pub fn work_done(&self, submission: Submission) -> PendingWork {
        let arrival = Arc::default();
        let signal = Arrival::signal::<String>(&arrival);
        self.shared.queue.on_submitted_work_done(move || signal(Ok(())));
        PendingWork { gpu: self.clone(), arrival, submission }
    }
}

impl std::fmt::Debug for PendingWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingWork of {:?}", self.submission)
    }
}

impl Future for PendingWork {
    type Output = Result<Instant, GpuError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.gpu.check()?;
        let mut arrival = lock(&self.arrival);
        if let Some(result) = arrival.result.clone() {
            return Poll::Ready(result.map_err(|message| GpuError::Device { message }));
        }
        arrival.waker = Some(cx.waker().clone());
        #[cfg(not(target_arch = "wasm32"))]
        if !std::mem::replace(&mut arrival.awaited, true) {
            let failed = Arrival::signal(&self.arrival);
            let on_error = move |message: String| failed(Err(message));
            let shared = &self.gpu.shared;
            lock(&shared.counters).waits += 1;
            shared.waiter.wait(self.submission.0.clone(), Box::new(on_error));
        }
        Poll::Pending
    }
}

/// A read under way: a future of the bytes and of the moment they were ready. Dropping it gives the read up.
pub struct PendingRead {
    work: PendingWork,
    staging: Buffer,
    bytes: u64,
    given_up: GivenUp,
}

impl std::fmt::Debug for PendingRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingRead of {} bytes of {:?}", self.bytes, self.staging)
    }
}

impl Future for PendingRead {
    type Output = Result<(Vec<u8>, Instant), GpuError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(at) = Pin::new(&mut self.work).poll(cx)? else { return Poll::Pending };
        #[cfg(not(target_arch = "wasm32"))]
        {
            let delay = *lock(&self.work.gpu.shared.read_delay);
            let rest = delay.saturating_sub(at.elapsed());
            if !rest.is_zero() {
                let waker = cx.waker().clone();
                std::thread::spawn(move || {
                    std::thread::sleep(rest);
                    waker.wake();
                });
                return Poll::Pending;
            }
        }
        let staging = self.work.gpu.raw_buffer(&self.staging)?;
        let slice = staging.slice(0..self.bytes);
        let data =
            slice.get_mapped_range().map_err(|error| GpuError::Device { message: error.to_string() })?;
        Poll::Ready(Ok((data.to_vec(), at)))
    }
}

/// A read that has arrived is unmapped, so that the next copy may come; one that has not is left to [`Readback::settle`].
impl Drop for PendingRead {
    fn drop(&mut self) {
        if lock(&self.work.arrival).result.is_some() {
            let staging = self.work.gpu.raw_buffer(&self.staging);
            staging.iter().for_each(wgpu::Buffer::unmap);
        } else {
            *lock(&self.given_up) = Some(self.work.clone());
        }
    }
}
