//! Device memory: labelled buffers, made in batches before they are needed.

use std::sync::{Arc, Mutex};

use super::{Gpu, GpuError, lock};

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferUse {
    /// Read and written by kernels; can be uploaded to and copied from.
    Storage,
    /// Receives copies and is mapped for reading.
    Readback,
}

/// One line of a memory plan: what is to be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferRequest {
    /// Label, as it appears in error messages and GPU captures.
    pub label: String,
    /// Size in bytes; rounded up to a multiple of 16, at least 16.
    pub bytes: u64,
    /// What it is for.
    pub usage: BufferUse,
}

impl BufferRequest {
    /// A storage buffer.
    pub fn storage(label: impl Into<String>, bytes: u64) -> Self {
        Self { label: label.into(), bytes: round_up(bytes), usage: BufferUse::Storage }
    }

    /// A buffer the host can read.
    pub fn readback(label: impl Into<String>, bytes: u64) -> Self {
        Self { label: label.into(), bytes: round_up(bytes), usage: BufferUse::Readback }
    }
}

/// Kernels read whole `vec4`s, so every buffer holds a whole number of them.
fn round_up(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(16)
}

/// A piece of device memory. Cheap to clone; freed with the last clone.
#[derive(Clone)]
pub struct Buffer {
    pub(super) raw: wgpu::Buffer,
    owner: Arc<Owner>,
}

/// What all clones of a buffer share. The last one to go tells the device, whose cached bind groups hold the memory too.
struct Owner {
    id: u64,
    label: Box<str>,
    dead: Arc<Mutex<Vec<u64>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.dead).push(self.id);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({} bytes)", self.label(), self.size())
    }
}

/// A range of a buffer as a kernel sees it.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub(super) buffer: &'a Buffer,
    pub(super) offset: u64,
    pub(super) bytes: u64,
}

impl Buffer {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.raw.size()
    }

    /// The label it was made with.
    pub fn label(&self) -> &str {
        &self.owner.label
    }

    /// Names this buffer in the keys of bind groups.
    pub(super) fn id(&self) -> u64 {
        self.owner.id
    }

    /// The whole buffer.
    pub fn all(&self) -> Binding<'_> {
        Binding { buffer: self, offset: 0, bytes: self.size() }
    }

    /// `bytes` from `offset`; an offset must be a multiple of 256, as WebGPU wants.
    pub fn range(&self, offset: u64, bytes: u64) -> Binding<'_> {
        Binding { buffer: self, offset, bytes }
    }
}

impl<'a> From<&'a Buffer> for Binding<'a> {
    fn from(buffer: &'a Buffer) -> Self {
        buffer.all()
    }
}

impl Binding<'_> {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.bytes
    }
}

impl Gpu {
    /// Makes all buffers of a plan, or none: an error frees what was made.
    ///
    /// # Errors
    /// [`GpuError::Allocation`] when the driver has no room, or a size is above its limits.
    pub async fn allocate(&self, requests: &[BufferRequest]) -> Result<Vec<Buffer>, GpuError> {
        self.check()?;
        self.drop_dead_bind_groups();
        let device = &self.shared.device;
        let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let buffers: Vec<_> = requests.iter().map(|request| self.create(request)).collect();
        // Scopes nest, so the inner one is closed first.
        let refused = validation.pop();
        let full = memory.pop();
        let error = match refused.await {
            Some(error) => Some(error),
            None => full.await,
        };
        self.check()?;
        match error {
            None => Ok(buffers),
            Some(error) => {
                let largest = requests.iter().max_by_key(|request| request.bytes);
                Err(GpuError::Allocation {
                    what: largest.map_or_else(String::new, |request| request.label.clone()),
                    bytes: requests.iter().fold(0, |sum, request| sum.saturating_add(request.bytes)),
                    message: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
                })
            }
        }
    }

    fn create(&self, request: &BufferRequest) -> Buffer {
        let usage = match request.usage {
            BufferUse::Storage => {
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
            }
            BufferUse::Readback => wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        };
        let raw = self.shared.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(&request.label),
            size: request.bytes,
            usage,
            mapped_at_creation: false,
        });
        let mut counters = lock(&self.shared.counters);
        counters.buffers += 1;
        counters.buffer_bytes = counters.buffer_bytes.saturating_add(request.bytes);
        let mut id = lock(&self.shared.next_buffer_id);
        *id += 1;
        let owner =
            Owner { id: *id, label: request.label.as_str().into(), dead: self.shared.dead_buffers.clone() };
        Buffer { raw, owner: Arc::new(owner) }
    }
}
