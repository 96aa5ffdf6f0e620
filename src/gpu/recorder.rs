//! A recording: dispatches as plain data, run in one compute pass, once or many times over.
//!
//! The command stream of a decode step is the same for every token, so a step is recorded once and submitted again and again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pipeline::{Kernel, Pipeline, Variant};
use super::{Binding, Buffer, Gpu, GpuError, lock, params};

/// Buffers (by id, offset, length) bound with a layout (by the buffers' access pattern).
pub(super) type BindGroupKey = (&'static str, Vec<(u64, u64, u64)>);

/// Workgroups WebGPU allows in one dimension.
const MAX_GROUPS: u32 = 65_535;

/// One recorded dispatch, as far as it can be shown to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// The choices made for it.
    pub variant: Variant,
    /// Labels of the buffers bound.
    pub bindings: Vec<String>,
    /// Workgroups in x, y and z.
    pub groups: [u32; 3],
}

struct Ready {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    kernel: &'static str,
    params: Box<[u8]>,
    groups: [u32; 3],
}

/// A copy that follows the dispatches of a submit.
#[derive(Clone, Debug)]
pub struct CopyOut {
    source: Buffer,
    source_offset: u64,
    target: Buffer,
    target_offset: u64,
    bytes: u64,
}

impl CopyOut {
    /// Copies `bytes` of `source` from `source_offset` on to `target` at `target_offset`.
    ///
    /// # Errors
    /// [`GpuError::OutOfRange`] when either range does not lie in its buffer.
    pub fn new(
        source: &Buffer,
        source_offset: u64,
        target: &Buffer,
        target_offset: u64,
        bytes: u64,
    ) -> Result<Self, GpuError> {
        for (buffer, offset) in [(source, source_offset), (target, target_offset)] {
            if offset.checked_add(bytes).is_none_or(|end| end > buffer.size()) {
                return Err(GpuError::OutOfRange {
                    buffer: buffer.label().to_owned(),
                    offset,
                    bytes,
                    size: buffer.size(),
                });
            }
        }
        Ok(Self { source: source.clone(), source_offset, target: target.clone(), target_offset, bytes })
    }
}

/// Collects dispatches; [`Recorder::submit`] sends them to the device, [`Recorder::finish`] keeps them.
pub struct Recorder<'g> {
    gpu: &'g Gpu,
    ready: Vec<Ready>,
    dispatches: Vec<Dispatch>,
    copies: Vec<CopyOut>,
    keep_listing: bool,
}

/// Finished dispatches, to be submitted as often as wanted.
pub struct Recording {
    ready: Vec<Ready>,
    dispatches: Vec<Dispatch>,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording of {} dispatches", self.ready.len())
    }
}

impl Recording {
    /// The readable list, if the recorder kept one.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }
}

/// One submit, to be waited for.
#[derive(Clone, Debug)]
pub struct Submission(pub(super) wgpu::SubmissionIndex);

impl<'g> Recorder<'g> {
    /// An empty recording.
    pub fn new(gpu: &'g Gpu) -> Self {
        gpu.drop_dead_bind_groups();
        Self { gpu, ready: Vec::new(), dispatches: Vec::new(), copies: Vec::new(), keep_listing: false }
    }

    /// An empty recording that also keeps the readable list of its dispatches.
    pub fn listing(gpu: &'g Gpu) -> Self {
        Self { keep_listing: true, ..Self::new(gpu) }
    }

    /// The device recorded for.
    pub fn gpu(&self) -> &'g Gpu {
        self.gpu
    }

    /// The dispatches so far, if this recorder keeps them.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// Names of the kernels recorded so far, if this recorder keeps them.
    pub fn kernel_names(&self) -> BTreeSet<&'static str> {
        self.dispatches.iter().map(|dispatch| dispatch.kernel).collect()
    }

    /// Records `groups` workgroups of a kernel variant. No workgroup at all is no dispatch.
    ///
    /// # Errors
    /// [`GpuError::Variant`] for a variant that the kernel does not declare, [`GpuError::Shape`] when bindings or parameters are not
    /// what it declares, or a dimension is too large.
    pub fn dispatch<P: bytemuck::Pod>(
        &mut self,
        kernel: &Kernel,
        variant: Variant,
        bindings: &[Binding<'_>],
        params: &P,
        groups: [u32; 3],
    ) -> Result<(), GpuError> {
        let shape = |what, got: usize, need: usize| GpuError::Shape {
            kernel: kernel.name,
            what,
            got: got as u64,
            need: need as u64,
        };
        if !kernel.has(&variant) {
            return Err(GpuError::Variant { kernel: kernel.name, variant });
        }
        if bindings.len() != kernel.bindings.len() {
            return Err(shape("number of bindings", bindings.len(), kernel.bindings.len()));
        }
        if size_of::<P>() != kernel.params.size {
            return Err(shape("size of the parameters", size_of::<P>(), kernel.params.size));
        }
        if let Some(most) = groups.iter().find(|n| **n > MAX_GROUPS) {
            return Err(shape("number of workgroups", *most as usize, MAX_GROUPS as usize));
        }
        for binding in bindings {
            let end = binding.offset.checked_add(binding.bytes);
            if end.is_none_or(|end| end > binding.buffer.size()) || binding.bytes == 0 {
                return Err(GpuError::OutOfRange {
                    buffer: binding.buffer.label().to_owned(),
                    offset: binding.offset,
                    bytes: binding.bytes,
                    size: binding.buffer.size(),
                });
            }
            if binding.bytes > self.gpu.max_binding_bytes() {
                return Err(shape(
                    "bytes of a binding",
                    binding.bytes as usize,
                    self.gpu.max_binding_bytes() as usize,
                ));
            }
        }
        if groups.contains(&0) {
            return Ok(());
        }
        let pipeline = self.gpu.pipeline(kernel, variant);
        let bind_group = self.bind_group(kernel, &pipeline, bindings);
        let params = bytemuck::bytes_of(params).into();
        self.ready.push(Ready { pipeline, bind_group, kernel: kernel.name, params, groups });
        if self.keep_listing {
            let bindings = bindings.iter().map(|binding| binding.buffer.label().to_owned()).collect();
            self.dispatches.push(Dispatch { kernel: kernel.name, variant, bindings, groups });
        }
        Ok(())
    }

    fn bind_group(&self, kernel: &Kernel, pipeline: &Pipeline, bindings: &[Binding<'_>]) -> wgpu::BindGroup {
        let key = (kernel.name, bindings.iter().map(|b| (b.buffer.id(), b.offset, b.bytes)).collect());
        let shared = &self.gpu.shared;
        let mut groups = lock(&shared.bind_groups);
        if let Some(group) = groups.get(&key) {
            return group.clone();
        }
        let arena = lock(&shared.params);
        let uniform = wgpu::BufferBinding {
            buffer: &arena.buffer,
            offset: 0,
            size: wgpu::BufferSize::new(params::SLOT_BYTES),
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(uniform) }];
        entries.extend((1..).zip(bindings).map(|(binding, bound)| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &bound.buffer.raw,
                offset: bound.offset,
                size: wgpu::BufferSize::new(bound.bytes),
            }),
        }));
        let group = shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        lock(&shared.counters).bind_groups += 1;
        groups.insert(key, group.clone());
        group
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
            self.copies.push(copy);
        }
    }

    /// Sends everything recorded to the device, in order, in one compute pass.
    ///
    /// # Errors
    /// As [`Gpu::submit`].
    pub fn submit(self) -> Result<Submission, GpuError> {
        let (gpu, copies) = (self.gpu, self.copies);
        gpu.submit(&Recording { ready: self.ready, dispatches: self.dispatches }, 1, &copies)
    }

    /// Keeps the dispatches for [`Gpu::submit`]; copies asked for with [`Recorder::read`] are not among them.
    pub fn finish(self) -> Recording {
        Recording { ready: self.ready, dispatches: self.dispatches }
    }
}

impl Gpu {
    /// Runs a recording `times` times over in one compute pass, then the copies.
    ///
    /// # Errors
    /// The device is gone or has reported an error, or there are more different parameters than one submit holds.
    pub fn submit(
        &self,
        recording: &Recording,
        times: u32,
        copies: &[CopyOut],
    ) -> Result<Submission, GpuError> {
        let shared = &self.shared;
        self.check()?;
        // Held until the submit: what one recording places, no other may replace before it has run.
        let mut arena = lock(&shared.params);
        let offsets = self.place_params(&mut arena, &recording.ready)?;
        let mut encoder =
            shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        if !recording.ready.is_empty() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..times {
                for (dispatch, offset) in recording.ready.iter().zip(&offsets) {
                    let [x, y, z] = dispatch.groups;
                    pass.set_pipeline(&dispatch.pipeline.raw);
                    pass.set_bind_group(0, &dispatch.bind_group, &[*offset]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        for copy in copies {
            encoder.copy_buffer_to_buffer(
                &copy.source.raw,
                copy.source_offset,
                &copy.target.raw,
                copy.target_offset,
                copy.bytes,
            );
        }
        {
            let mut counters = lock(&shared.counters);
            counters.submits += 1;
            counters.passes += u64::from(!recording.ready.is_empty());
            counters.dispatches += recording.ready.len() as u64 * u64::from(times);
        }
        let index = shared.queue.submit([encoder.finish()]);
        drop(arena);
        self.check()?;
        Ok(Submission(index))
    }

    /// Puts the parameters of every dispatch into the arena; their byte offsets, in order.
    fn place_params(&self, arena: &mut params::ParamsArena, ready: &[Ready]) -> Result<Vec<u32>, GpuError> {
        arena.make_room(ready.iter().map(|dispatch| &*dispatch.params));
        let place = |dispatch: &Ready| {
            let (offset, fresh) = arena.slot(&dispatch.params, dispatch.kernel)?;
            if fresh {
                self.shared.queue.write_buffer(&arena.buffer, u64::from(offset), &dispatch.params);
                lock(&self.shared.counters).params_writes += 1;
            }
            Ok(offset)
        };
        ready.iter().map(place).collect()
    }
}
