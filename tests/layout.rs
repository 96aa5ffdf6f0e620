//! Shader and host agree, checked without a GPU: naga parses and validates every variant of every kernel, and its
//! structs, bindings, entry point and workgroup are compared with the table in `src/kernels`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use killick::gpu::pipeline::{Access, Kernel, Variant};
use killick::kernels::IMPLEMENTATIONS;
use killick::kernels::emit::LoopState;
use killick::kv::{RingParams, RingState, Row, Tag};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, StorageAccess, TypeInner};

/// Name, size and fields of a struct that both sides have.
type Struct = (&'static str, usize, Vec<(&'static str, usize)>);

/// The structs of `src/kv` that kernels read or write, with the kernels that must know them.
fn shared_structs() -> Vec<(Struct, Vec<&'static str>)> {
    macro_rules! layout {
        ($name:ident { $($field:ident),* $(,)? }) => {
            (stringify!($name), size_of::<$name>(), vec![$((stringify!($field), offset_of!($name, $field))),*])
        };
    }
    vec![
        (
            layout!(Row {
                pos,
                pinned_end,
                anchor_first,
                anchor_end,
                live_first,
                n_keys,
                live_slot,
                anchor_slot,
                pinned_query_pos,
                is_anchor,
                forced,
                seg_start,
            }),
            vec!["attention", "kv_step", "kv_write", "rope"],
        ),
        (
            layout!(RingState {
                pos,
                seg_start,
                n_anchors,
                anchor_first,
                anchor_end,
                total_anchors,
                forced_anchors,
                segments,
                live,
                peak_live,
                barred,
                pad0,
            }),
            vec!["emit", "kv_step", "penalize", "sample"],
        ),
        (
            layout!(RingParams {
                sinks,
                anchor_cap,
                live_cap,
                in_flight,
                window,
                seg_rule,
                isolated,
                max_anchors,
                max_segment,
                max_distance,
                limit,
                at_max_segment,
            }),
            vec!["kv_step"],
        ),
        (layout!(LoopState { emitted, budget, stopped, pad0 }), vec!["emit", "kv_step", "top_logprobs"]),
        (layout!(Tag { is_anchor, forced, seg_start, anchors_upto }), vec!["masked_attention"]),
    ]
}

/// Every variant that the kernel's own text can be linked into.
fn variants(kernel: &Kernel) -> Vec<Variant> {
    let weights: &[WeightFormat] =
        if kernel.uses_weight { &[WeightFormat::F32, WeightFormat::F16] } else { &[WeightFormat::F32] };
    let reductions: &[bool] = if kernel.uses_reduce { &[false, true] } else { &[false] };
    let mut variants = Vec::new();
    for workgroup in [8, 64] {
        for &weight in weights {
            for &subgroups in reductions {
                for residual in [false, true] {
                    variants.push(Variant { workgroup, weight, subgroups, residual });
                }
            }
        }
    }
    variants
}

/// Parses and validates. The baseline variants must do without the capability for subgroups.
fn module(kernel: &Kernel, variant: &Variant) -> Module {
    let source = kernel.compose(variant);
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|error| panic!("{} {variant:?}: {}", kernel.name, error.emit_to_string(&source)));
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SUBGROUP, variant.subgroups);
    Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{} {variant:?}: {}", kernel.name, error.emit_to_string(&source)));
    module
}

/// The struct called `name`: its size and the name and offset of every member.
fn struct_of(module: &Module, name: &str) -> Option<(usize, Vec<(String, usize)>)> {
    module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name)).map(|(_, ty)| {
        let TypeInner::Struct { members, span } = &ty.inner else { panic!("{name} is no struct") };
        let member = |member: &naga::StructMember| {
            let scalar =
                matches!(module.types[member.ty].inner, TypeInner::Scalar(scalar) if scalar.width == 4);
            assert!(scalar, "{name}.{:?} is no 32-bit scalar", member.name);
            (member.name.clone().unwrap(), member.offset as usize)
        };
        (*span as usize, members.iter().map(member).collect())
    })
}

fn owned(fields: &[(&str, usize)]) -> Vec<(String, usize)> {
    fields.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect()
}

fn for_every_variant(check: impl Fn(&Kernel, &Variant, &Module)) {
    for kernel in KERNELS {
        for variant in variants(kernel) {
            check(kernel, &variant, &module(kernel, &variant));
        }
    }
}

#[test]
fn every_variant_is_valid_and_needs_no_feature_it_does_not_name() {
    let mut n = 0;
    for kernel in KERNELS {
        for variant in &variants(kernel) {
            module(kernel, variant);
            n += 1;
        }
    }
    assert!(n >= 100, "only {n} variants");
}

#[test]
fn a_kernel_without_its_parts_is_not_valid() {
    for kernel in KERNELS.iter().filter(|kernel| kernel.uses_weight || kernel.uses_reduce) {
        assert!(naga::front::wgsl::parse_str(kernel.source).is_err(), "{} needs no part", kernel.name);
    }
}

#[test]
fn parameters_have_the_same_layout_on_both_sides() {
    for_every_variant(|kernel, variant, module| {
        let params = &kernel.params;
        let (size, fields) = struct_of(module, params.name)
            .unwrap_or_else(|| panic!("{} has no struct {}", kernel.name, params.name));
        assert_eq!((size, fields), (params.size, owned(params.fields)), "{} {variant:?}", params.name);
        assert!(params.size.is_multiple_of(16), "{} is no multiple of 16 bytes", params.name);
        assert_eq!(params.fields.len() * 4, params.size, "{} has gaps", params.name);
    });
}

#[test]
fn bindings_are_those_of_the_table() {
    for_every_variant(|kernel, variant, module| {
        let mut found = BTreeMap::new();
        for (_, global) in module.global_variables.iter() {
            let Some(binding) = &global.binding else { continue };
            assert_eq!(binding.group, 0, "{} {variant:?}: {:?}", kernel.name, global.name);
            assert!(found.insert(binding.binding, (global.space, global.ty)).is_none(), "{}", kernel.name);
        }
        let (space, ty) = found.remove(&0).unwrap_or_else(|| panic!("{} has no parameters", kernel.name));
        assert_eq!(space, AddressSpace::Uniform, "{}", kernel.name);
        assert_eq!(module.types[ty].name.as_deref(), Some(kernel.params.name));
        let expected: Vec<(u32, AddressSpace)> = (1..)
            .zip(kernel.bindings)
            .map(|(binding, access)| {
                let access = match access {
                    Access::Read => StorageAccess::LOAD,
                    Access::ReadWrite => StorageAccess::LOAD | StorageAccess::STORE,
                };
                (binding, AddressSpace::Storage { access })
            })
            .collect();
        let found: Vec<(u32, AddressSpace)> =
            found.into_iter().map(|(binding, (space, _))| (binding, space)).collect();
        assert_eq!(found, expected, "{} {variant:?}", kernel.name);
        assert!(
            found.len() <= 8,
            "{} has more storage buffers than WebGPU's default limits allow",
            kernel.name
        );
    });
}

#[test]
fn the_entry_point_is_the_stem_and_the_workgroup_that_of_the_variant() {
    for_every_variant(|kernel, variant, module| {
        let [entry] = &module.entry_points[..] else { panic!("{} has several entry points", kernel.name) };
        assert_eq!((entry.name.as_str(), entry.stage), (kernel.name, ShaderStage::Compute));
        // The ring step is one invocation by nature; all others take the workgroup of the variant.
        let lanes = if ["kv_step", "emit"].contains(&kernel.name) { 1 } else { variant.workgroup };
        assert_eq!(entry.workgroup_size, [lanes, 1, 1], "{} {variant:?}", kernel.name);
    });
}

#[test]
fn workgroup_memory_fits_the_default_limit() {
    for_every_variant(|kernel, variant, module| {
        let shared =
            module.global_variables.iter().filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx())).sum();
        assert!(bytes <= 16 << 10, "{} {variant:?} wants {bytes} bytes", kernel.name);
    });
}

#[test]
fn the_structs_of_the_ring_have_the_same_layout_on_both_sides() {
    for ((name, size, fields), kernels) in shared_structs() {
        let mut met = BTreeSet::new();
        for_every_variant_once(|kernel, module| {
            if let Some(found) = struct_of(module, name) {
                assert_eq!(found, (size, owned(&fields)), "{name} in {}", kernel.name);
                assert_eq!(fields.len() * 4, size, "{name} has fields that this test does not list");
                met.insert(kernel.name);
            }
        });
        let expected: BTreeSet<&str> = kernels.into_iter().collect();
        assert!(met.is_superset(&expected), "{name} is known to {met:?} only");
    }
}

fn for_every_variant_once(mut check: impl FnMut(&Kernel, &Module)) {
    for kernel in KERNELS {
        check(kernel, &module(kernel, &Variant::plain(64)));
    }
}
