//! Device to host: staging buffers, mapped when the copy into them has run.
//!
//! A read is begun right after its submit and taken later, so that other submits can be under way meanwhile. Whoever waits for it is
//! woken: natively by a thread that waits for the device, in the browser by the event loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use web_time::Instant;

use super::{Buffer, Gpu, GpuError, Submission, lock};

/// A staging buffer for reading results; part of the session's plan, made once.
#[derive(Clone, Debug)]
pub struct Readback {
    staging: Buffer,
    under_way: UnderWay,
}

/// The read that is under way, by the number of it. The buffer must stay as it is until it has arrived: the GPU library would otherwise
/// map a later read of the same buffer as soon as the earlier submit has run, with what that one left there.
type UnderWay = Arc<Mutex<Option<(u64, PendingWork)>>>;

impl Readback {
    /// Wraps a buffer made with [`BufferUse::Readback`](super::BufferUse::Readback).
    pub fn new(staging: Buffer) -> Self {
        Self { staging, under_way: UnderWay::default() }
    }

    /// Waits until no earlier read is under way; one that was not taken is given up, dropped or not. Must be awaited before a submit that
    /// copies into this buffer.
    ///
    /// # Errors
    /// The device is gone or reported an error.
    pub async fn settle(&self) -> Result<(), GpuError> {
        std::future::poll_fn(|cx| self.poll_settled(cx)).await
    }

    /// [`Readback::settle`], for a future written by hand.
    pub fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Result<(), GpuError>> {
        let mut under_way = lock(&self.under_way);
        let Some((_, work)) = under_way.as_mut() else { return Poll::Ready(Ok(())) };
        let Poll::Ready(result) = Pin::new(&mut *work).poll(cx) else { return Poll::Pending };
        let staging = work.gpu.raw_buffer(&self.staging);
        *under_way = None;
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
        let work = PendingWork { gpu: gpu.clone(), arrival };
        // The library's own callback says that the buffer is mapped; only what goes wrong before is news.
        work.wait_for(submission, |arrival, result| {
            if let Err(message) = result {
                Arrival::note(arrival, Err(message));
            }
        });
        let number = next_number();
        *lock(&self.under_way) = Some((number, work.clone()));
        let (staging, under_way) = (self.staging.clone(), self.under_way.clone());
        Ok(PendingRead { work, staging, bytes, number, under_way })
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

/// Numbers of reads.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// When the device was done, once it is; and who waits for it.
#[derive(Default)]
struct Arrival {
    result: Option<Result<Instant, String>>,
    waker: Option<Waker>,
}

impl Arrival {
    /// The callback that notes what happened and when.
    fn signal<E: ToString>(this: &Arc<Mutex<Self>>) -> impl FnOnce(Result<(), E>) + Send + use<E> {
        let this = this.clone();
        move |result| Self::note(&this, result.map_err(|error| error.to_string()))
    }

    /// Notes what happened, unless that is known, and wakes who waits: with nothing locked, because that may drop what it waits with.
    fn note(this: &Mutex<Self>, result: Result<(), String>) {
        let waker = {
            let mut arrival = lock(this);
            arrival.result.get_or_insert(result.map(|()| Instant::now()));
            arrival.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A submit under way: a future of the moment when the device was done with it. To poll it does not wait.
#[derive(Clone)]
pub struct PendingWork {
    gpu: Gpu,
    arrival: Arc<Mutex<Arrival>>,
}

impl Gpu {
    /// The end of a submit that was just made.
    pub fn work_done(&self, submission: Submission) -> PendingWork {
        let work = PendingWork { gpu: self.clone(), arrival: Arc::default() };
        #[cfg(target_arch = "wasm32")]
        {
            let signal = Arrival::signal::<String>(&work.arrival);
            self.shared.queue.on_submitted_work_done(move || signal(Ok(())));
        }
        // Not by the library's callback: it would belong to the newest submit of all, which may be another's.
        work.wait_for(submission, Arrival::note);
        work
    }
}

impl std::fmt::Debug for PendingWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PendingWork")
    }
}

impl PendingWork {
    /// Has the waiting thread call `then` when `submission` has run, unless that is known already.
    #[cfg(not(target_arch = "wasm32"))]
    fn wait_for(
        &self,
        submission: Submission,
        then: impl FnOnce(&Mutex<Arrival>, Result<(), String>) + Send + 'static,
    ) {
        if lock(&self.arrival).result.is_some() {
            return;
        }
        lock(&self.gpu.shared.counters).waits += 1;
        let arrival = self.arrival.clone();
        self.gpu.shared.waiter.wait(submission.0, Box::new(move |result| then(&arrival, result)));
    }

    /// In the browser the event loop does all that.
    #[cfg(target_arch = "wasm32")]
    fn wait_for(&self, _: Submission, _: impl FnOnce(&Mutex<Arrival>, Result<(), String>)) {}
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
        Poll::Pending
    }
}

/// A read under way: a future of the bytes and of the moment they were ready. Dropping it gives the read up, and so does whoever
/// [settles](Readback::settle) the buffer for another.
pub struct PendingRead {
    work: PendingWork,
    staging: Buffer,
    bytes: u64,
    number: u64,
    under_way: UnderWay,
}

impl std::fmt::Debug for PendingRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PendingRead of {} bytes of {:?}", self.bytes, self.staging)
    }
}

impl PendingRead {
    /// Ends the read: what was under way is this one, and its buffer may be used again. False if it was given up.
    fn end(&self) -> bool {
        let mut under_way = lock(&self.under_way);
        let mine = under_way.as_ref().is_some_and(|(number, _)| *number == self.number);
        if mine {
            *under_way = None;
        }
        mine
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
        if !self.end() {
            let buffer = self.staging.label().to_owned();
            return Poll::Ready(Err(GpuError::ReadGivenUp { buffer }));
        }
        let data = staging.slice(0..self.bytes).get_mapped_range().map(|data| data.to_vec());
        staging.unmap();
        let data = data.map_err(|error| GpuError::Device { message: error.to_string() })?;
        Poll::Ready(Ok((data, at)))
    }
}

/// A read that has arrived is unmapped, so that the next copy may come; one that has not is left to [`Readback::settle`].
impl Drop for PendingRead {
    fn drop(&mut self) {
        let arrived = lock(&self.work.arrival).result.is_some();
        if arrived && self.end() {
            let staging = self.work.gpu.raw_buffer(&self.staging);
            staging.iter().for_each(wgpu::Buffer::unmap);
        }
    }
}
