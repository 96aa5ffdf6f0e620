//! Where each binding of a module lies on each backend, as wgpu-hal 30 lays out a pipeline with one bind group.
//!
//! One function, [`kind`], says what a binding is, and one, [`Slots::of`], where the backends put it. A binding of a new kind
//! is one more variant and one more arm in each.

use naga::back::{glsl, hlsl, msl, spv};
use naga::{AddressSpace, GlobalVariable, ImageClass, Module, ResourceBinding, StorageAccess, TypeInner};

/// What is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The uniform at binding 0, whose offset is dynamic.
    Params,
    /// Any other uniform buffer.
    Uniform,
    /// A storage buffer.
    Buffer { write: bool },
    /// A sampled texture.
    Texture,
    /// A storage texture.
    StorageTexture { write: bool },
}

/// What the engine binds for a global variable of the module.
pub(crate) fn kind(module: &Module, binding: u32, global: &GlobalVariable) -> Kind {
    match (global.space, &module.types[global.ty].inner) {
        (AddressSpace::Uniform, _) if binding == 0 => Kind::Params,
        (AddressSpace::Uniform, _) => Kind::Uniform,
        (AddressSpace::Storage { access }, _) => {
            Kind::Buffer { write: access.contains(StorageAccess::STORE) }
        }
        (AddressSpace::Handle, TypeInner::Image { class: ImageClass::Storage { access, .. }, .. }) => {
            Kind::StorageTexture { write: access.contains(StorageAccess::STORE) }
        }
        (AddressSpace::Handle, TypeInner::Image { .. }) => Kind::Texture,
        other => panic!("no backend has been told where {:?} lies: {other:?}", global.name),
    }
}

/// The maps that naga's writers ask for.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) metal: msl::EntryPointResources,
    pub(crate) dx12: hlsl::BindingMap,
    pub(crate) dx12_constants: hlsl::BindTarget,
    pub(crate) vulkan: spv::BindingMap,
    pub(crate) gl: glsl::BindingMap,
}

/// The next free place of each sort.
fn next<T: Copy + std::ops::AddAssign<T> + From<u8>>(counter: &mut T) -> T {
    let place = *counter;
    *counter += 1.into();
    place
}

impl Slots {
    pub(crate) fn of(module: &Module) -> Self {
        let mut bindings: Vec<(ResourceBinding, Kind)> = module
            .global_variables
            .iter()
            .filter_map(|(_, global)| global.binding.map(|at| (at, kind(module, at.binding, global))))
            .collect();
        bindings.sort_by_key(|(at, _)| at.binding);

        let mut slots = Self::default();
        let (mut buffers, mut textures) = (0u8, 0u8); // Metal
        let (mut constants, mut reads, mut writes) = (0u32, 0u32, 0u32); // DX12: CBV, SRV, UAV
        let (mut uniforms, mut storages, mut images, mut samplers) = (0u8, 0u8, 0u8, 0u8); // GL
        for &(at, kind) in &bindings {
            let buffer =
                |slot, mutable| msl::BindTarget { buffer: Some(slot), mutable, ..Default::default() };
            let texture =
                |slot, mutable| msl::BindTarget { texture: Some(slot), mutable, ..Default::default() };
            let register = |register| Some(hlsl::BindTarget { register, ..Default::default() });
            let (metal, dx12, gl) = match kind {
                // Root descriptors of dynamic uniforms come after the table: below.
                Kind::Params => (buffer(next(&mut buffers), false), None, next(&mut uniforms)),
                Kind::Uniform => {
                    (buffer(next(&mut buffers), false), register(next(&mut constants)), next(&mut uniforms))
                }
                Kind::Buffer { write } => {
                    let view = if write { &mut writes } else { &mut reads };
                    (buffer(next(&mut buffers), write), register(next(view)), next(&mut storages))
                }
                Kind::Texture => {
                    (texture(next(&mut textures), false), register(next(&mut reads)), next(&mut samplers))
                }
                // A storage texture is a UAV, also one that is only read.
                Kind::StorageTexture { write } => {
                    (texture(next(&mut textures), write), register(next(&mut writes)), next(&mut images))
                }
            };
            slots.metal.resources.insert(at, metal);
            slots.gl.insert(at, gl);
            if let Some(target) = dx12 {
                slots.dx12.insert(at, target);
            }
            let info = spv::BindingInfo { descriptor_set: 0, binding: at.binding, binding_array_size: None };
            slots.vulkan.insert(at, info);
        }
        for (at, _) in bindings.iter().filter(|(_, kind)| *kind == Kind::Params) {
            let target = hlsl::BindTarget {
                register: next(&mut constants),
                restrict_indexing: true,
                ..Default::default()
            };
            slots.dx12.insert(*at, target);
        }
        slots.dx12_constants.register = constants;
        if bindings.iter().any(|(_, kind)| matches!(kind, Kind::Buffer { .. })) {
            slots.metal.sizes_buffer = Some(buffers);
        }
        slots
    }
}
