//! Shader and host agree, checked without a GPU: naga parses and validates every variant of every kernel, and its
//! structs, bindings, entry point and workgroup are compared with the table in `src/kernels`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use killick::gpu::pipeline::{Access, Kernel, Variant};
use killick::kernels::emit::LoopState;
use killick::kernels::sample::RowSettings;
use killick::kernels::{IMPLEMENTATIONS, Implementation};
use killick::kv::{RingParams, RingState, Row, Tag};
use naga::{
    AddressSpace, ImageClass, Module, ScalarKind, ShaderStage, StorageAccess, StorageFormat, TypeInner,
};
use shader::module;

#[path = "support/shader.rs"]
mod shader;

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
                base,
                near_first,
                near_anchor,
            }),
            vec![
                "attention",
                "attention_split",
                "attention_texels",
                "kv_step",
                "kv_write",
                "kv_write_texels",
                "rope",
                "rope_halves",
                "rope_q8",
                "rope_q8_texels",
                "rope_texels",
            ],
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
                near_anchor,
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
                layer_window,
                pad0,
                pad1,
                pad2,
            }),
            vec!["kv_step"],
        ),
        (
            layout!(LoopState { emitted, budget, stopped, text }),
            vec!["emit", "kv_step", "penalize", "sample", "top_logprobs"],
        ),
        (
            layout!(RowSettings {
                greedy,
                top_k,
                top_p,
                inverse_temperature,
                reach,
                min_p_reach,
                seed_low,
                seed_high,
                biased,
                last_n,
                repetition,
                inverse_repetition,
                frequency,
                presence,
                logprobs,
                pad0,
            }),
            vec!["adjust", "penalize", "sample", "top_logprobs"],
        ),
        (layout!(Tag { is_anchor, forced, seg_start, anchors_upto }), vec!["masked_attention"]),
    ]
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

fn for_every_variant(mut check: impl FnMut(&Kernel, &Variant, &Module)) {
    for one in IMPLEMENTATIONS {
        let kernel = one.kernel;
        for variant in one.variants() {
            check(kernel, &variant, &module(kernel, &variant).0);
        }
    }
}

#[test]
fn every_variant_is_valid_and_needs_no_feature_it_does_not_name() {
    let mut workgroups = BTreeSet::new();
    let mut n = 0;
    for_every_variant(|_, _, _| n += 1);
    for_every_variant(|_, variant, _| _ = workgroups.insert(variant.workgroup));
    assert!(n >= 60, "only {n} variants");
    // One invocation, a software device with narrow subgroups and others, a GPU and what it may be tuned to, and the walk over a vocabulary.
    assert_eq!(workgroups, BTreeSet::from([1, 4, 8, 32, 64, 128, 256]));
}

#[test]
fn variants_differ_and_each_kernel_has_the_baseline() {
    for one in IMPLEMENTATIONS {
        let (kernel, variants) = (one.kernel, one.variants());
        let texts: BTreeSet<String> = variants.iter().map(|variant| kernel.compose(variant)).collect();
        assert_eq!(texts.len(), variants.len(), "two variants of {} have the same text", kernel.name);
        assert!(variants.iter().any(|variant| !variant.subgroups && !variant.residual), "{}", kernel.name);
        assert!(kernel.uses_reduce || kernel.shares.is_some() || !kernel.uses_subgroups, "{}", kernel.name);
    }
}

#[test]
fn who_enables_16_bit_floats_declares_it_and_keeps_them_to_itself() {
    let mut met = 0;
    for one in IMPLEMENTATIONS {
        let (kernel, name) = (one.kernel, one.kernel.name);
        assert_eq!(one.needs_f16, kernel.enables_f16(), "{name}");
        for variant in one.variants() {
            let text = kernel.compose(&variant);
            assert_eq!(text.starts_with("enable f16;"), one.needs_f16, "{name}");
            assert_eq!(text.matches("enable ").count(), usize::from(one.needs_f16), "{name}");
            let without = text.replacen("enable f16;", "", 1);
            assert_eq!(shader::validate(&without, variant.subgroups).is_err(), one.needs_f16, "{name}");
        }
        met += usize::from(one.needs_f16);
    }
    assert!(met > 0);
}

#[test]
fn a_kernel_without_its_parts_is_not_valid() {
    for Implementation { kernel, entries, .. } in IMPLEMENTATIONS {
        if !entries && kernel.weights.is_empty() && !kernel.uses_reduce && kernel.shares.is_none() {
            continue;
        }
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

/// The kind of texture that a binding is.
fn image_class(access: Access, sampled: bool) -> Option<ImageClass> {
    let storage = |format, access| Some(ImageClass::Storage { format, access });
    match access {
        Access::Words if sampled => Some(ImageClass::Sampled { kind: ScalarKind::Uint, multi: false }),
        Access::Floats | Access::Halves if sampled => {
            Some(ImageClass::Sampled { kind: ScalarKind::Float, multi: false })
        }
        Access::Bytes if sampled => Some(ImageClass::Sampled { kind: ScalarKind::Sint, multi: false }),
        Access::Words => storage(StorageFormat::Rgba32Uint, StorageAccess::LOAD),
        Access::Floats => storage(StorageFormat::Rgba32Float, StorageAccess::LOAD),
        Access::FloatsOut => storage(StorageFormat::Rgba32Float, StorageAccess::STORE),
        Access::Halves => storage(StorageFormat::Rgba16Float, StorageAccess::LOAD),
        Access::HalvesOut => storage(StorageFormat::Rgba16Float, StorageAccess::STORE),
        Access::Bytes => storage(StorageFormat::Rgba8Sint, StorageAccess::LOAD),
        Access::BytesOut => storage(StorageFormat::Rgba8Sint, StorageAccess::STORE),
        Access::Read | Access::ReadWrite | Access::Uniform => None,
    }
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
        let space = |access: &Access| match access {
            Access::Read => AddressSpace::Storage { access: StorageAccess::LOAD },
            Access::ReadWrite => AddressSpace::Storage { access: StorageAccess::LOAD | StorageAccess::STORE },
            Access::Uniform => AddressSpace::Uniform,
            Access::Words
            | Access::Floats
            | Access::FloatsOut
            | Access::Halves
            | Access::HalvesOut
            | Access::Bytes
            | Access::BytesOut => AddressSpace::Handle,
        };
        let bound = kernel.bound(variant);
        assert_eq!(found.len(), bound.len(), "{} {variant:?}", kernel.name);
        for ((binding, access), (number, (found, ty))) in (1..).zip(&bound).zip(&found) {
            assert_eq!((*number, *found), (binding, space(access)), "{} {variant:?}", kernel.name);
            let class = match module.types[*ty].inner {
                TypeInner::Image { class, .. } => Some(class),
                _ => None,
            };
            assert_eq!(class, image_class(*access, variant.sampled), "{} {variant:?}", kernel.name);
        }
        let storage = bound.iter().filter(|a| matches!(a, Access::Read | Access::ReadWrite)).count();
        let images = bound.iter().filter(|a| space(a) == AddressSpace::Handle).count();
        assert!(images <= 4, "{} has more storage textures than WebGPU's default limits allow", kernel.name);
        assert!(storage <= 8, "{} has more storage buffers than WebGPU's default limits allow", kernel.name);
    });
}

#[test]
fn the_entry_point_is_the_stem_and_the_workgroup_that_of_the_variant() {
    for_every_variant(|kernel, variant, module| {
        let [entry] = &module.entry_points[..] else { panic!("{} has several entry points", kernel.name) };
        assert_eq!((entry.name.as_str(), entry.stage), (kernel.name, ShaderStage::Compute));
        assert_eq!(entry.workgroup_size, [variant.workgroup, 1, 1], "{} {variant:?}", kernel.name);
        let name = shader::name(kernel, variant);
        assert!(variant.workgroup.is_power_of_two() && variant.workgroup <= 256, "{name}");
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
    for one in IMPLEMENTATIONS {
        check(one.kernel, &module(one.kernel, &one.variants()[0]).0);
    }
}
