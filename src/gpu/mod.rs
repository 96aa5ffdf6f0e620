//! The device: the only room that names `wgpu`.
//!
//! [`Gpu`] owns one device and everything made once per device (pipelines, bind groups, parameter slots).
//! The rooms above it speak in [`Buffer`]s, [`Kernel`](pipeline::Kernel)s and a [`Recording`], which is a plain list of dispatches;
//! so the forward pass can be read, counted and printed without the GPU library, and without a device.
//!
//! ```text
//! adapter.rs       which adapter
//! capabilities.rs  the device as plain data; tuning.rs: what was measured to be fastest on it
//! buffer.rs        memory, by names; texels.rs: a texture as a linear array
//! recording.rs     dispatches as plain data
//! submit.rs        from a recording to the device
//! pipeline.rs      kernels, their variants, and what is compiled of them
//! params.rs        the parameters of dispatches
//! readback.rs      results, back to the host; waiter.rs: the thread that waits for them
//! timer.rs         how long the device worked
//! error.rs         what a device refuses, or fails of
//! ```
//!
//! Why it is so: wgpu changes its interface with every major version, panics on errors nobody handles and charges
//! for every object made in a hot loop. One room keeps all three in one place.

mod adapter;
mod buffer;
mod capabilities;
mod error;
mod expand;
mod params;
pub mod pipeline;
mod readback;
mod recording;
mod submit;
mod texels;
mod timer;
mod tuning;
#[cfg(not(target_arch = "wasm32"))]
mod waiter;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

pub use adapter::{AdapterDescription, GpuOptions, list_adapters};
pub use buffer::{Binding, Buffer, BufferRequest, BufferUse};
pub use capabilities::{Capabilities, F16, Family};
pub use error::GpuError;
pub use readback::{PendingRead, PendingWork, Readback};
pub use recording::{Bound, CopyOut, Dispatch, Recorder, Recording};
pub use submit::{Prepared, Submission};
pub(crate) use texels::MOST_TEXTURE_BYTES;
pub use timer::{KernelTime, PassTimes, Timed};
pub use tuning::{Tuned, TunedOp, Tuning};

use params::ParamsArena;
use pipeline::{BindingsLayout, Pipeline, PipelineKey};

/// How often the device was asked for something since it was made; the figures tests hold constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Compute dispatches submitted.
    pub dispatches: u64,
    /// Compute passes begun.
    pub passes: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// Buffers created.
    pub buffers: u64,
    /// Bytes of all buffers created.
    pub buffer_bytes: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Parameter slots written.
    pub params_writes: u64,
    /// Host-to-device writes (tokens, row extents, weights).
    pub uploads: u64,
    /// Device-to-host reads (`map_async`).
    pub readbacks: u64,
    /// Submits whose end was waited for.
    pub waits: u64,
}

/// Live objects and bytes as the GPU library itself counts them, to check [`Counters`] against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LibraryCounters {
    /// Live buffers.
    pub buffers: i64,
    /// Live bind groups.
    pub bind_groups: i64,
    /// Live compute pipelines.
    pub pipelines: i64,
    /// Bytes of buffer memory.
    pub buffer_bytes: i64,
    /// Memory allocations.
    pub allocations: i64,
}

/// One device, its limits and its caches. Cheap to clone.
///
/// Dropping the last clone waits for the work that was submitted. A program that keeps one for ever, in a `static` say, calls
/// [`Gpu::wait`] before it ends: some drivers (SwiftShader) crash when a process exits under their work.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

struct Shared {
    /// Goes first, because it holds the device.
    #[cfg(not(target_arch = "wasm32"))]
    waiter: waiter::Waiter,
    device: wgpu::Device,
    queue: wgpu::Queue,
    adapter: AdapterDescription,
    errors: Arc<ErrorState>,
    counters: Mutex<Counters>,
    pipelines: Mutex<HashMap<PipelineKey, Arc<Pipeline>>>,
    layouts: Mutex<HashMap<(Vec<pipeline::Access>, bool), BindingsLayout>>,
    bind_groups: Mutex<HashMap<submit::BindGroupKey, wgpu::BindGroup>>,
    params: Mutex<ParamsArena>,
    memory: buffer::Memory,
    dead_buffers: Arc<Mutex<Vec<u64>>>,
    read_delay: Mutex<Duration>,
    /// There while passes are timed.
    timer: Mutex<Option<timer::Timer>>,
}

/// What the device told us outside a call: the first error nobody waited for, and whether it is gone.
#[derive(Default)]
struct ErrorState {
    first: OnceLock<String>,
    lost: OnceLock<String>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}

impl Gpu {
    /// Opens the adapter that `options` name, or the best one there is.
    ///
    /// # Errors
    /// No adapter, none of that name, or one that lacks WebGPU's default limits.
    pub async fn open(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter::Opened { device, queue, adapter, capabilities } = adapter::open(options).await?;
        let errors = Arc::new(ErrorState::default());
        let (on_error, on_lost) = (errors.clone(), errors.clone());
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            log::error!("{error}");
            let _ = on_error.first.set(error.to_string());
        }));
        device.set_device_lost_callback(move |reason, message| {
            let _ = on_lost.lost.set(format!("{reason:?}: {message}"));
        });
        #[cfg(not(target_arch = "wasm32"))]
        let waiter = waiter::Waiter::new(&device)?;
        let params = ParamsArena::new(&device);
        let counters = Counters { buffers: 1, buffer_bytes: params::ARENA_BYTES, ..Counters::default() };
        Ok(Self {
            shared: Arc::new(Shared {
                #[cfg(not(target_arch = "wasm32"))]
                waiter,
                device,
                queue,
                adapter,
                errors,
                counters: Mutex::new(counters),
                pipelines: Mutex::default(),
                layouts: Mutex::default(),
                bind_groups: Mutex::default(),
                params: Mutex::new(params),
                memory: Mutex::default(),
                dead_buffers: Arc::default(),
                read_delay: Mutex::default(),
                timer: Mutex::default(),
            }),
            capabilities,
        })
    }

    /// The adapter this device runs on.
    pub fn adapter(&self) -> &AdapterDescription {
        &self.shared.adapter
    }

    /// What it can do, as plain data: what kernels and plans are chosen by.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The same device, whose kernels are chosen by `tuning` from now on: for the models that are loaded by what is returned.
    pub fn tuned(&self, tuning: Tuning) -> Self {
        let capabilities = Capabilities { tuning, ..self.capabilities.clone() };
        Self { capabilities, ..self.clone() }
    }

    /// Largest range of a buffer one binding may cover, in bytes; a larger matrix is split by rows.
    pub fn max_binding_bytes(&self) -> u64 {
        self.capabilities.max_binding_bytes
    }

    /// Whether kernels may use subgroup operations here.
    pub fn subgroups(&self) -> bool {
        self.capabilities.subgroups > 0
    }

    /// Whether the "GPU" is a program on the CPU.
    pub fn is_software(&self) -> bool {
        self.capabilities.software
    }

    /// What was asked of the device so far.
    pub fn counters(&self) -> Counters {
        *lock(&self.shared.counters)
    }

    /// The GPU library's own count of live objects (all zero in the browser, where it keeps none).
    pub fn library_counters(&self) -> LibraryCounters {
        let hal = self.shared.device.get_internal_counters().hal;
        LibraryCounters {
            buffers: hal.buffers.read() as i64,
            bind_groups: hal.bind_groups.read() as i64,
            pipelines: hal.compute_pipelines.read() as i64,
            buffer_bytes: hal.buffer_memory.read() as i64,
            allocations: hal.memory_allocations.read() as i64,
        }
    }

    /// Waits until everything submitted so far has run. In the browser this returns at once.
    ///
    /// # Errors
    /// The device is gone or reported an error.
    pub fn wait(&self) -> Result<(), GpuError> {
        self.drop_dead();
        lock(&self.shared.counters).waits += 1;
        let all = self.shared.queue.submit([]);
        let until = wgpu::PollType::Wait { submission_index: Some(all), timeout: None };
        let waited = self.shared.device.poll(until);
        self.check()?;
        waited.map(drop).map_err(|error| GpuError::Device { message: error.to_string() })
    }

    /// [`Gpu::wait`] as a future, which waits in the browser too.
    ///
    /// # Errors
    /// The device is gone or reported an error.
    pub async fn idle(&self) -> Result<(), GpuError> {
        let all = self.shared.queue.submit([]);
        self.work_done(Submission(all)).await.map(drop)
    }

    /// Lets the callbacks run of what is ready, without waiting.
    fn poll(&self) -> Result<(), GpuError> {
        let polled = self.shared.device.poll(wgpu::PollType::Poll);
        self.check()?;
        polled.map(drop).map_err(|error| GpuError::Device { message: error.to_string() })
    }

    /// From now on a result reaches the host this long after the device has it, as over a slow link. For tests of latency;
    /// without effect in the browser.
    pub fn delay_reads(&self, delay: Duration) {
        *lock(&self.shared.read_delay) = delay;
    }

    /// Ends the device at once, as a driver reset would; every later call is an error. For tests of that path.
    pub fn destroy(&self) {
        self.shared.device.destroy();
        let _ = self.shared.errors.lost.set("destroyed by the program".to_owned());
    }

    /// Whether the device is still there and has reported no error; asks nothing of it.
    ///
    /// # Errors
    /// [`GpuError::Lost`], [`GpuError::Device`].
    pub fn check(&self) -> Result<(), GpuError> {
        // The lost flag first: after a loss, other errors are only its echo.
        if let Some(reason) = self.shared.errors.lost.get() {
            return Err(GpuError::Lost { reason: reason.clone() });
        }
        match self.shared.errors.first.get() {
            Some(message) => Err(GpuError::Device { message: message.clone() }),
            None => Ok(()),
        }
    }
}

/// Locks a mutex whose data stays valid if another thread panicked while holding it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
