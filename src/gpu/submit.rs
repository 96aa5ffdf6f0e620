//! From plain data to the device: a recording is prepared once and submitted as often as wanted.

use std::ops::Range;
use std::sync::Arc;

use super::buffer::{Raw, place};
use super::pipeline::Pipeline;
use super::recording::{Bound, CopyOut, Dispatch, Recording};
use super::texels;
use super::timer::Timed;
use super::{Buffer, Gpu, GpuError, lock, params};

/// Ranges of buffers (id, offset, length) bound with a layout. Kernels that access their bindings alike share a layout, and so bind groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BindGroupKey {
    layout: u32,
    bound: Vec<(u64, u64, u64)>,
}

impl BindGroupKey {
    pub(super) fn names_any_of(&self, ids: &[u64]) -> bool {
        self.bound.iter().any(|(id, ..)| ids.contains(id))
    }
}

struct Ready {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
}

/// A recording with everything the device made for it.
pub struct Prepared {
    /// One for each dispatch.
    ready: Vec<Ready>,
    /// Dispatches whose parameters fit one submit.
    stretches: Vec<Range<usize>>,
    /// What is bound must live as long.
    recording: Recording,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared, {} dispatches", self.ready.len())
    }
}

impl Prepared {
    /// What it was made of.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }
}

/// One submit, to be waited for.
#[derive(Clone, Debug)]
pub struct Submission(
    #[cfg_attr(
        target_arch = "wasm32",
        expect(dead_code, reason = "the browser knows which submit is meant")
    )]
    pub(super) wgpu::SubmissionIndex,
);

impl Gpu {
    /// Makes the pipelines and bind groups of a recording, or finds those made before.
    ///
    /// # Errors
    /// The device is gone or has reported an error, or the recording binds memory of another device.
    pub fn prepare(&self, recording: Recording) -> Result<Prepared, GpuError> {
        self.check()?;
        self.drop_dead();
        let ready = recording.dispatches.iter().map(|dispatch| self.make_ready(dispatch));
        let ready = ready.collect::<Result<_, _>>()?;
        let stretches = params::stretches(recording.dispatches.iter().map(|dispatch| &*dispatch.params));
        Ok(Prepared { ready, stretches, recording })
    }

    /// [`Gpu::prepare`] and [`Gpu::submit`] of what runs once.
    ///
    /// # Errors
    /// As these two.
    pub fn run(&self, recording: Recording) -> Result<Submission, GpuError> {
        self.submit(&self.prepare(recording)?, 1, &[])
    }

    /// Runs a recording `times` times over, then its copies and `copies`: in one compute pass of one submit, or in several where it has
    /// more different parameters than one submit holds.
    ///
    /// # Errors
    /// The device is gone or has reported an error.
    pub fn submit(
        &self,
        prepared: &Prepared,
        times: u32,
        copies: &[CopyOut],
    ) -> Result<Submission, GpuError> {
        self.check()?;
        let Prepared { stretches, recording, .. } = prepared;
        let mut runs: Vec<(Range<usize>, u32)> = match &stretches[..] {
            [all] => vec![(all.clone(), times)],
            several => (0..times).flat_map(|_| several).map(|stretch| (stretch.clone(), 1)).collect(),
        };
        let (last, times) = runs.pop().unwrap_or((0..0, 0));
        for (stretch, times) in runs {
            self.submit_stretch(prepared, stretch, times, &[])?;
        }
        let copies: Vec<_> = recording.copies.iter().chain(copies).collect();
        self.submit_stretch(prepared, last, times, &copies)
    }

    fn submit_stretch(
        &self,
        prepared: &Prepared,
        stretch: Range<usize>,
        times: u32,
        copies: &[&CopyOut],
    ) -> Result<Submission, GpuError> {
        let shared = &self.shared;
        let (dispatches, ready) = (&prepared.recording.dispatches[stretch.clone()], &prepared.ready[stretch]);
        // Held until the submit: what one recording places, no other may replace before it has run.
        let mut arena = lock(&shared.params);
        let offsets = self.place_params(&mut arena, dispatches);
        let mut encoder =
            shared.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let one_by_one = lock(&shared.timer).as_ref().is_some_and(|timer| timer.timed == Timed::Dispatches);
        if !dispatches.is_empty() {
            let mut timer = lock(&shared.timer);
            let mut begin = |encoder: &mut wgpu::CommandEncoder, dispatch| {
                let timestamp_writes =
                    timer.as_mut().and_then(|timer| timer.next_pass(&shared.device, dispatch));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                encoder.begin_compute_pass(&descriptor).forget_lifetime()
            };
            let mut pass = (!one_by_one).then(|| begin(&mut encoder, None));
            for _ in 0..times {
                for ((dispatch, ready), offset) in dispatches.iter().zip(ready).zip(&offsets) {
                    let [x, y, z] = dispatch.groups;
                    if one_by_one {
                        drop(pass.take());
                    }
                    let pass = pass.get_or_insert_with(|| begin(&mut encoder, Some(dispatch)));
                    pass.set_pipeline(&ready.pipeline.raw);
                    pass.set_bind_group(0, &ready.bind_group, &[*offset]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        for copy in copies {
            self.encode_copy(&mut encoder, copy)?;
        }
        {
            let mut counters = lock(&shared.counters);
            counters.submits += 1;
            let runs = dispatches.len() as u64 * u64::from(times);
            counters.passes += if one_by_one { runs } else { runs.min(1) };
            counters.dispatches += runs;
        }
        let index = shared.queue.submit([encoder.finish()]);
        drop(arena);
        self.check()?;
        Ok(Submission(index))
    }

    fn make_ready(&self, dispatch: &Dispatch) -> Result<Ready, GpuError> {
        let pipeline = self.pipeline(dispatch.kernel, dispatch.variant);
        let bind_group = self.bind_group(dispatch.kernel.name, &pipeline, &dispatch.bindings)?;
        Ok(Ready { pipeline, bind_group })
    }

    fn bind_group(
        &self,
        label: &'static str,
        pipeline: &Pipeline,
        bindings: &[Bound],
    ) -> Result<wgpu::BindGroup, GpuError> {
        let bound = bindings.iter().map(|bound| (bound.buffer.id(), bound.offset, bound.bytes)).collect();
        let key = BindGroupKey { layout: pipeline.layout.id, bound };
        let shared = &self.shared;
        let mut groups = lock(&shared.bind_groups);
        if let Some(group) = groups.get(&key) {
            return Ok(group.clone());
        }
        let raws =
            bindings.iter().map(|bound| self.raw(&bound.buffer)).collect::<Result<Vec<_>, GpuError>>()?;
        let arena = lock(&shared.params);
        let range = |buffer, offset, bytes| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: wgpu::BufferSize::new(bytes),
            })
        };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: range(&arena.buffer, 0, params::SLOT_BYTES) }];
        entries.extend((1..).zip(bindings).zip(&raws).map(|((binding, bound), raw)| {
            let resource = match raw {
                Raw::Buffer(buffer) => range(buffer, bound.offset, bound.bytes),
                Raw::Texture(_, view) => wgpu::BindingResource::TextureView(view),
            };
            wgpu::BindGroupEntry { binding, resource }
        }));
        let group = shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(label),
            layout: &pipeline.layout.raw,
            entries: &entries,
        });
        lock(&shared.counters).bind_groups += 1;
        groups.insert(key, group.clone());
        Ok(group)
    }

    fn encode_copy(&self, encoder: &mut wgpu::CommandEncoder, copy: &CopyOut) -> Result<(), GpuError> {
        let unit = copy.source.unit();
        match (self.raw(&copy.source)?, self.raw(&copy.target)?) {
            (Raw::Buffer(source), Raw::Buffer(target)) => encoder.copy_buffer_to_buffer(
                &source,
                copy.source_offset,
                &target,
                copy.target_offset,
                copy.bytes,
            ),
            (Raw::Texture(source, _), Raw::Texture(target, _)) => {
                let from = (source.width(), copy.source_offset / unit);
                let to = (target.width(), copy.target_offset / unit);
                for (piece, home) in texels::pieces(from, to, copy.bytes / unit) {
                    let (from, size) = place(&source, &piece);
                    encoder.copy_texture_to_texture(from, place(&target, &home).0, size);
                }
            }
            (Raw::Texture(source, _), Raw::Buffer(target)) => {
                let layout = wgpu::TexelCopyBufferLayout {
                    offset: copy.target_offset,
                    bytes_per_row: Some(source.width() * unit as u32),
                    rows_per_image: None,
                };
                let target = wgpu::TexelCopyBufferInfo { buffer: &target, layout };
                encoder.copy_texture_to_buffer(source.as_image_copy(), target, source.size());
            }
            (Raw::Buffer(_), Raw::Texture(..)) => return Err(not_here(&copy.target)),
        }
        Ok(())
    }

    /// Puts the parameters of every dispatch into the arena; their byte offsets, in order.
    fn place_params(&self, arena: &mut params::ParamsArena, dispatches: &[Dispatch]) -> Vec<u32> {
        arena.make_room(dispatches.iter().map(|dispatch| &*dispatch.params));
        let place = |dispatch: &Dispatch| {
            let (offset, fresh) = arena.slot(&dispatch.params);
            if fresh {
                self.shared.queue.write_buffer(&arena.buffer, u64::from(offset), &dispatch.params);
                lock(&self.shared.counters).params_writes += 1;
            }
            offset
        };
        dispatches.iter().map(place).collect()
    }
}

fn not_here(buffer: &Buffer) -> GpuError {
    GpuError::NotHere { buffer: buffer.label().to_owned() }
}
