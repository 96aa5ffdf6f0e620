//! A recording: dispatches as plain data, without any object of a device.
//!
//! It can be made, read, counted and printed where there is no device at all. [`Gpu::prepare`](super::Gpu::prepare) turns it into
//! pipelines and bind groups once; then it runs as often as wanted. The command stream of a decode step is the same for every token, so
//! a step is recorded once and submitted again and again.

use std::collections::BTreeSet;

use super::params::SLOT_BYTES;
use super::pipeline::{Access, Kernel, Variant};
use super::{Binding, Buffer, Capabilities, GpuError};

/// Workgroups WebGPU allows in one dimension.
const MAX_GROUPS: u32 = 65_535;

/// A range of device memory that a dispatch binds.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Whose.
    pub buffer: Buffer,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// One recorded dispatch.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// The implementation that runs, and by it the op.
    pub kernel: &'static Kernel,
    /// The choices made for it.
    pub variant: Variant,
    /// What it binds, in the order of the kernel's bindings.
    pub bindings: Vec<Bound>,
    /// Its parameters, as the shader reads them.
    pub params: Box<[u8]>,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

impl Dispatch {
    /// Labels of what is bound.
    pub fn labels(&self) -> Vec<&str> {
        self.bindings.iter().map(|bound| bound.buffer.label()).collect()
    }
}

/// A copy that follows the dispatches of a submit.
#[derive(Clone, Debug)]
pub struct CopyOut {
    pub(super) source: Buffer,
    pub(super) source_offset: u64,
    pub(super) target: Buffer,
    pub(super) target_offset: u64,
    pub(super) bytes: u64,
}

impl CopyOut {
    /// Copies `bytes` of `source` from `source_offset` on to `target` at `target_offset`. Between two textures these are whole texels;
    /// from a texture into a buffer it is the whole texture.
    ///
    /// # Errors
    /// [`GpuError::OutOfRange`] when either range does not lie in its buffer, or is none that can be copied.
    pub fn new(
        source: &Buffer,
        source_offset: u64,
        target: &Buffer,
        target_offset: u64,
        bytes: u64,
    ) -> Result<Self, GpuError> {
        let unit = source.unit().max(target.unit());
        source.check_range(source_offset, bytes, unit)?;
        target.check_range(target_offset, bytes, unit)?;
        let possible = match (source.is_texels(), target.is_texels()) {
            (false, false) => source.id() != target.id(),
            (true, true) => source.id() != target.id() && source.unit() == target.unit(),
            (true, false) => source_offset == 0 && bytes == source.size(),
            (false, true) => false,
        };
        if !possible {
            let buffer = format!("{} into {}", source.label(), target.label());
            return Err(GpuError::OutOfRange { buffer, offset: target_offset, bytes, size: target.size() });
        }
        Ok(Self { source: source.clone(), source_offset, target: target.clone(), target_offset, bytes })
    }
}

/// Dispatches, and the copies that follow them.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub(super) dispatches: Vec<Dispatch>,
    pub(super) copies: Vec<CopyOut>,
}

impl Recording {
    /// The dispatches in order.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Names of the kernels recorded.
    pub fn kernel_names(&self) -> BTreeSet<&'static str> {
        self.dispatches.iter().map(|dispatch| dispatch.kernel.name).collect()
    }
}

/// Collects dispatches for a device of certain capabilities.
#[derive(Debug)]
pub struct Recorder {
    device: Capabilities,
    recording: Recording,
}

impl Recorder {
    /// An empty recording.
    pub fn new(device: &Capabilities) -> Self {
        Self { device: device.clone(), recording: Recording::default() }
    }

    /// What is recorded for.
    pub fn device(&self) -> &Capabilities {
        &self.device
    }

    /// Records `groups` workgroups of a kernel variant. No workgroup at all is no dispatch.
    ///
    /// # Errors
    /// [`GpuError::Shape`] when bindings or parameters are not what the kernel declares, or a dimension is too large.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        variant: Variant,
        bindings: &[Binding<'_>],
        params: &P,
        groups: [u32; 3],
    ) -> Result<(), GpuError> {
        const { assert!(size_of::<P>() as u64 <= SLOT_BYTES, "a set of parameters fits its slot") };
        let shape = |what, got: usize, need: usize| GpuError::Shape {
            kernel: kernel.name,
            what,
            got: got as u64,
            need: need as u64,
        };
        let bound = kernel.bound(&variant);
        if bindings.len() != bound.len() {
            return Err(shape("number of bindings", bindings.len(), bound.len()));
        }
        if size_of::<P>() != kernel.params.size {
            return Err(shape("size of the parameters", size_of::<P>(), kernel.params.size));
        }
        if let Some(most) = groups.iter().find(|n| **n > MAX_GROUPS) {
            return Err(shape("number of workgroups", *most as usize, MAX_GROUPS as usize));
        }
        for (binding, access) in bindings.iter().zip(bound) {
            binding.buffer.check_range(binding.offset, binding.bytes, 4)?;
            if !access.takes(binding.buffer.usage()) || binding.bytes == 0 {
                return Err(GpuError::WrongBinding {
                    kernel: kernel.name,
                    buffer: binding.buffer.label().to_owned(),
                    usage: format!("{:?}", binding.buffer.usage()),
                    wanted: format!("{access:?}"),
                });
            }
            let most = match access {
                Access::Uniform => self.device.max_uniform_bytes,
                _ => self.device.max_binding_bytes,
            };
            if binding.bytes > most {
                return Err(shape("bytes of a binding", binding.bytes as usize, most as usize));
            }
        }
        if groups.contains(&0) {
            return Ok(());
        }
        let bound = |binding: &Binding<'_>| Bound {
            buffer: binding.buffer.clone(),
            offset: binding.offset,
            bytes: binding.bytes,
        };
        self.recording.dispatches.push(Dispatch {
            kernel,
            variant,
            bindings: bindings.iter().map(bound).collect(),
            params: bytemuck::bytes_of(params).into(),
            groups,
        });
        Ok(())
    }

    /// Copies `bytes` of `source` to `target` after all dispatches of this recording.
    ///
    /// # Errors
    /// As [`CopyOut::new`].
    pub fn read(
        &mut self,
        source: &Buffer,
        source_offset: u64,
        target: &Buffer,
        target_offset: u64,
        bytes: u64,
    ) -> Result<(), GpuError> {
        self.copy(CopyOut::new(source, source_offset, target, target_offset, bytes)?);
        Ok(())
    }

    /// Adds a copy after all dispatches of this recording; one of no bytes is none.
    pub fn copy(&mut self, copy: CopyOut) {
        if copy.bytes > 0 {
            self.recording.copies.push(copy);
        }
    }

    /// What was recorded.
    pub fn finish(self) -> Recording {
        self.recording
    }
}
