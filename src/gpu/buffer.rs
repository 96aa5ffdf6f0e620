//! Device memory: labelled pieces, made in batches before they are needed.
//!
//! A [`Buffer`] is a name for a piece of memory, not the piece itself: the device keeps what the name stands for. So a recording,
//! which holds such names, is plain data, and one can be made of [planned](Buffer::planned) memory without any device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::texels;
use super::{Gpu, GpuError, lock};

/// What a piece of memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferUse {
    /// A buffer that kernels read and write; can be uploaded to and copied from.
    Storage,
    /// Receives copies and is mapped for reading.
    Readback,
    /// A texture of four 32-bit integers a texel, which kernels read as a linear array.
    Words,
    /// A texture of four 32-bit floats a texel, which kernels read and write as a linear array.
    Floats,
    /// A buffer as [`BufferUse::Storage`], of 16-bit floats, two a word.
    Pairs,
    /// A texture of four 16-bit floats a texel, which kernels read and write as a linear array.
    Halves,
    /// A buffer as [`BufferUse::Storage`], of signed bytes, four a word, and of 32-bit floats between them.
    Bytes,
    /// A texture of what such a buffer holds, a word a texel.
    ByteTexels,
}

impl BufferUse {
    /// Bytes of a texel, if it is a texture.
    pub(super) fn texel_bytes(self) -> Option<u64> {
        match self {
            Self::Words | Self::Floats => Some(16),
            Self::Halves => Some(8),
            Self::ByteTexels => Some(4),
            Self::Storage | Self::Readback | Self::Pairs | Self::Bytes => None,
        }
    }
}

/// One line of a memory plan: what is to be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferRequest {
    /// Label, as it appears in error messages and GPU captures.
    pub label: String,
    /// Size in bytes; rounded up to whole units of its use, at least one.
    pub bytes: u64,
    /// What it is for.
    pub usage: BufferUse,
}

impl BufferRequest {
    /// A storage buffer.
    pub fn storage(label: impl Into<String>, bytes: u64) -> Self {
        Self { label: label.into(), bytes: bytes.max(1).next_multiple_of(16), usage: BufferUse::Storage }
    }

    /// A storage buffer of which kernels may bind any rows as a uniform: its size is a multiple of 256, as the place of a uniform
    /// binding must be.
    pub fn inputs(label: impl Into<String>, bytes: u64) -> Self {
        Self { label: label.into(), bytes: bytes.max(1).next_multiple_of(256), usage: BufferUse::Storage }
    }

    /// A buffer the host can read.
    pub fn readback(label: impl Into<String>, bytes: u64) -> Self {
        Self { label: label.into(), bytes: bytes.max(1).next_multiple_of(16), usage: BufferUse::Readback }
    }

    /// A texture of integers.
    pub fn words(label: impl Into<String>, bytes: u64) -> Self {
        Self::texture(label, bytes, BufferUse::Words)
    }

    /// A texture of floats.
    pub fn floats(label: impl Into<String>, bytes: u64) -> Self {
        Self::texture(label, bytes, BufferUse::Floats)
    }

    /// A storage buffer of 16-bit floats.
    pub fn pairs(label: impl Into<String>, bytes: u64) -> Self {
        Self { usage: BufferUse::Pairs, ..Self::storage(label, bytes) }
    }

    /// A texture of 16-bit floats.
    pub fn halves(label: impl Into<String>, bytes: u64) -> Self {
        Self::texture(label, bytes, BufferUse::Halves)
    }

    /// A storage buffer of signed bytes.
    pub fn byte_words(label: impl Into<String>, bytes: u64) -> Self {
        Self { usage: BufferUse::Bytes, ..Self::storage(label, bytes) }
    }

    /// A texture of signed bytes.
    pub fn byte_texels(label: impl Into<String>, bytes: u64) -> Self {
        Self::texture(label, bytes, BufferUse::ByteTexels)
    }

    /// The texture that holds `bytes` bytes.
    fn texture(label: impl Into<String>, bytes: u64, usage: BufferUse) -> Self {
        let texel_bytes = usage.texel_bytes().unwrap_or(1);
        let [width, height] = texels::sides(bytes.div_ceil(texel_bytes));
        Self { label: label.into(), bytes: u64::from(width) * u64::from(height) * texel_bytes, usage }
    }
}

/// What a [`Buffer`] stands for on the device.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Buffer(wgpu::Buffer),
    Texture(wgpu::Texture, wgpu::TextureView),
}

/// All memory of a device by the ids of the [`Buffer`]s.
pub(super) type Memory = Mutex<HashMap<u64, Raw>>;

/// The name of a piece of device memory. Cheap to clone. When the last clone has gone, the device frees the
/// memory the next time it allocates, prepares or waits.
#[derive(Clone)]
pub struct Buffer {
    owner: Arc<Owner>,
}

/// What all clones of a buffer share. The last one to go tells the device, whose cached bind groups hold the memory too.
struct Owner {
    id: u64,
    label: Box<str>,
    bytes: u64,
    usage: BufferUse,
    dead: Option<Arc<Mutex<Vec<u64>>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(dead) = &self.dead {
            lock(dead).push(self.id);
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({} bytes)", self.label(), self.size())
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

/// A range of a buffer as a kernel sees it.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    pub(super) buffer: &'a Buffer,
    pub(crate) offset: u64,
    pub(super) bytes: u64,
}

impl Buffer {
    /// A name with no memory behind it, for a recording that is looked at and not run.
    pub fn planned(request: &BufferRequest) -> Self {
        Self::new(request, None)
    }

    fn new(request: &BufferRequest, dead: Option<Arc<Mutex<Vec<u64>>>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let label = request.label.as_str().into();
        Self { owner: Arc::new(Owner { id, label, bytes: request.bytes, usage: request.usage, dead }) }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.owner.bytes
    }

    /// The label it was made with.
    pub fn label(&self) -> &str {
        &self.owner.label
    }

    /// What it is for.
    pub fn usage(&self) -> BufferUse {
        self.owner.usage
    }

    /// Whether it is a texture.
    pub fn is_texels(&self) -> bool {
        self.owner.usage.texel_bytes().is_some()
    }

    /// The bytes that are copied and uploaded as one: a texel or a word.
    pub(super) fn unit(&self) -> u64 {
        self.owner.usage.texel_bytes().unwrap_or(4)
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

    /// Refuses a range that does not lie in the buffer, or is no whole number of `unit` bytes.
    pub(super) fn check_range(&self, offset: u64, bytes: u64, unit: u64) -> Result<(), GpuError> {
        let end = offset.checked_add(bytes);
        if end.is_none_or(|end| end > self.size())
            || !bytes.is_multiple_of(unit)
            || !offset.is_multiple_of(unit)
        {
            return Err(GpuError::OutOfRange {
                buffer: self.label().to_owned(),
                offset,
                bytes,
                size: self.size(),
            });
        }
        Ok(())
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
        self.drop_dead();
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
        use wgpu::BufferUsages as Usage;
        let buffer = |usage| {
            Raw::Buffer(self.shared.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(&request.label),
                size: request.bytes,
                usage,
                mapped_at_creation: false,
            }))
        };
        let raw = match request.usage {
            BufferUse::Storage | BufferUse::Pairs | BufferUse::Bytes => {
                buffer(Usage::STORAGE | Usage::UNIFORM | Usage::COPY_SRC | Usage::COPY_DST)
            }
            BufferUse::Readback => buffer(Usage::MAP_READ | Usage::COPY_DST),
            BufferUse::Words => self.texture(request, wgpu::TextureFormat::Rgba32Uint),
            BufferUse::Floats => self.texture(request, wgpu::TextureFormat::Rgba32Float),
            BufferUse::Halves => self.texture(request, wgpu::TextureFormat::Rgba16Float),
            BufferUse::ByteTexels => self.texture(request, wgpu::TextureFormat::Rgba8Sint),
        };
        let mut counters = lock(&self.shared.counters);
        counters.buffers += 1;
        counters.buffer_bytes = counters.buffer_bytes.saturating_add(request.bytes);
        let buffer = Buffer::new(request, Some(self.shared.dead_buffers.clone()));
        lock(&self.shared.memory).insert(buffer.id(), raw);
        buffer
    }

    fn texture(&self, request: &BufferRequest, format: wgpu::TextureFormat) -> Raw {
        use wgpu::TextureUsages as Usage;
        let texel_bytes = request.usage.texel_bytes().unwrap_or(1);
        let [width, height] = texels::sides(request.bytes.div_ceil(texel_bytes));
        let texture = self.shared.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(&request.label),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: Usage::TEXTURE_BINDING | Usage::STORAGE_BINDING | Usage::COPY_SRC | Usage::COPY_DST,
            view_formats: &[],
        });
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        Raw::Texture(texture, view)
    }

    /// What a name stands for here.
    pub(super) fn raw(&self, buffer: &Buffer) -> Result<Raw, GpuError> {
        lock(&self.shared.memory)
            .get(&buffer.id())
            .cloned()
            .ok_or_else(|| GpuError::NotHere { buffer: buffer.label().to_owned() })
    }

    /// [`Gpu::raw`] of what must be a buffer.
    pub(super) fn raw_buffer(&self, buffer: &Buffer) -> Result<wgpu::Buffer, GpuError> {
        match self.raw(buffer)? {
            Raw::Buffer(raw) => Ok(raw),
            Raw::Texture(..) => Err(GpuError::NotHere { buffer: buffer.label().to_owned() }),
        }
    }

    /// Frees the memory of buffers that nobody names any more, and the cached bind groups that hold it.
    pub(super) fn drop_dead(&self) {
        let dead = std::mem::take(&mut *lock(&self.shared.dead_buffers));
        if !dead.is_empty() {
            lock(&self.shared.memory).retain(|id, _| !dead.contains(id));
            lock(&self.shared.bind_groups).retain(|key, _| !key.names_any_of(&dead));
        }
    }

    /// Writes `data` (whole words; whole texels of a texture) into `buffer` at `offset` bytes before the next submit.
    ///
    /// # Errors
    /// The range does not lie in the buffer, or the device is gone.
    pub fn upload(&self, buffer: &Buffer, offset: u64, data: &[u8]) -> Result<(), GpuError> {
        let unit = buffer.unit();
        buffer.check_range(offset, data.len() as u64, unit)?;
        self.check()?;
        if data.is_empty() {
            return Ok(());
        }
        lock(&self.shared.counters).uploads += 1;
        match self.raw(buffer)? {
            Raw::Buffer(raw) => self.shared.queue.write_buffer(&raw, offset, data),
            Raw::Texture(texture, _) => {
                let first = offset / unit;
                let texels = first..first + data.len() as u64 / unit;
                for piece in texels::rectangles(texture.width(), texels) {
                    let layout = wgpu::TexelCopyBufferLayout {
                        offset: piece.before * unit,
                        bytes_per_row: Some(piece.width * unit as u32),
                        rows_per_image: None,
                    };
                    let (target, size) = place(&texture, &piece);
                    self.shared.queue.write_texture(target, data, layout, size);
                }
            }
        }
        Ok(())
    }
}

/// A rectangle of a texture, as the GPU library names it.
pub(super) fn place<'t>(
    texture: &'t wgpu::Texture,
    piece: &texels::Rectangle,
) -> (wgpu::TexelCopyTextureInfo<'t>, wgpu::Extent3d) {
    let origin = wgpu::Origin3d { x: piece.x, y: piece.y, z: 0 };
    let size = wgpu::Extent3d { width: piece.width, height: piece.height, depth_or_array_layers: 1 };
    (wgpu::TexelCopyTextureInfo { origin, ..texture.as_image_copy() }, size)
}
