//! Every variant in the language of every backend, without a GPU: naga translates it with the options of wgpu-hal.
//!
//! With `KILLICK_TRANSLATIONS` set to a folder the translations are left there, for compilers that are no part of the build;
//! `scripts/portability.sh` (`make test-portability`) shows them to those. Beside them lie the planted faults that each of
//! these compilers must refuse, so that a step that passes is known to look.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use faults::Fault;
use killick::gpu::pipeline::Variant;
use killick::kernels::{IMPLEMENTATIONS, Implementation};
use translate::{File, Options};

#[path = "portability/faults.rs"]
mod faults;
#[path = "support/shader.rs"]
mod shader;
#[path = "portability/slots.rs"]
mod slots;
#[path = "portability/translate.rs"]
mod translate;

/// Where the compilers look: one folder for each language, and in each a list of its files with their entry points.
fn target() -> Option<PathBuf> {
    std::env::var_os("KILLICK_TRANSLATIONS").map(PathBuf::from)
}

/// Leaves a variant below `folder`.
fn leave(folder: &Path, name: &str, text: &str, entry: &str, files: &[File]) {
    let wgsl = File {
        folder: "wgsl".to_owned(),
        ending: "wgsl",
        entry: entry.to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    for file in files.iter().chain([&wgsl]) {
        let folder = folder.join(&file.folder);
        fs::create_dir_all(&folder).unwrap();
        let stem = format!("{name}.{}", file.ending);
        fs::write(folder.join(&stem), &file.bytes).unwrap();
        let list = folder.join("list.tsv");
        let mut lines = fs::read_to_string(&list).unwrap_or_default();
        writeln!(lines, "{stem}\t{}", file.entry).unwrap();
        fs::write(list, lines).unwrap();
    }
}

/// FXC takes up to ten seconds over the text of a tile of rows, and there are hundreds. Of those it is shown one of each shape: three
/// layouts of weights, with the fewest and the most inputs, which are stored and not added, and attention of the fewest and the most
/// queries; the others are less text of the same kind.
fn is_for_fxc(one: &Implementation, variant: &Variant) -> bool {
    // The other numbers of lanes that a device may be tuned to: the same text, but for that number. A square has more of it.
    if one.tunable.contains(&variant.workgroup) && !one.lanes.contains(&variant.workgroup) && !one.square {
        return false;
    }
    let Some(weight) = variant.weight.filter(|_| one.kernel.reads_texels()) else {
        let sums = |variant: &Variant| (variant.inputs, variant.texels);
        let most = one.variants().iter().map(sums).max();
        return one.texels.len() == 1 || sums(variant) == (1, 1) || Some(sums(variant)) == most;
    };
    let alike = |other: &Variant| other.weight == variant.weight;
    let most = one.variants().iter().filter(|other| alike(other)).map(|other| other.inputs).max();
    let normed_where_it_can = variant.gain_len > 0 || one.kernel.gain.is_none();
    ["f16_texels", "q4_texels", "q6_texels"].contains(&weight.name)
        && !variant.residual
        && (variant.inputs == 1 || Some(variant.inputs) == most)
        && normed_where_it_can
}

#[test]
fn every_variant_translates_for_every_backend() {
    let (mut variants, mut files) = (0, 0);
    let mut met = BTreeSet::new();
    for one in IMPLEMENTATIONS {
        let kernel = one.kernel;
        for variant in one.variants() {
            let text = kernel.compose(&variant);
            let name = shader::name(kernel, &variant);
            // Two ops may share a shader.
            if !met.insert(name.clone()) {
                continue;
            }
            let (module, info) = shader::module(kernel, &variant);
            let (subgroups, f16) = (variant.subgroups, one.needs_f16);
            let options = Options { subgroups, f16, zero_workgroup_memory: false };
            let mut translations =
                translate::translate(&module, &info, options).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(translations.len(), if subgroups || f16 { 7 } else { 9 }, "{name}");
            // Textures are read as storage on Mesa's software driver alone, which is Vulkan.
            if kernel.reads_texels() && !variant.sampled {
                translations.retain(|file| file.folder.starts_with("spv"));
            }
            if !is_for_fxc(one, &variant) {
                translations.retain(|file| !file.folder.starts_with("hlsl-5_1"));
            }
            variants += 1;
            files += translations.len();
            if let Some(folder) = target() {
                leave(&folder.join("kernels"), &name, &text, kernel.name, &translations);
            }
        }
    }
    assert!(variants >= 60, "only {variants} variants");
    assert!(files > 5 * variants, "{files} translations");
}

#[test]
fn each_fault_is_planted_in_a_variant_that_has_it_not() {
    for fault in faults::FAULTS {
        let one = IMPLEMENTATIONS.iter().find(|one| one.kernel.name == fault.kernel).unwrap();
        let (kernel, variants) = (one.kernel, one.variants());
        let variant = variants.iter().find(|v| v.subgroups == fault.subgroups).unwrap();
        let sound = kernel.compose(variant);
        let text = fault.plant(&sound);
        assert!(fault.zero_workgroup_memory || text != sound, "{}: nothing was planted", fault.name);
        // naga sees none of them; that is why the others are asked.
        let (module, info) =
            shader::validate(&text, variant.subgroups).unwrap_or_else(|e| panic!("{}: {e}", fault.name));
        let Fault { subgroups, zero_workgroup_memory, .. } = *fault;
        let options = Options { subgroups, f16: one.needs_f16, zero_workgroup_memory };
        let translations = translate::translate(&module, &info, options).unwrap();
        if let Some(folder) = target() {
            let name = shader::name(kernel, variant);
            leave(&folder.join("faults").join(fault.name), &name, &text, kernel.name, &translations);
        }
    }
}

#[test]
fn bindings_of_every_kind_have_a_place_on_every_backend() {
    let text = "@group(0) @binding(0) var<uniform> params: vec4<u32>;
        @group(0) @binding(1) var<storage, read> x: array<f32>;
        @group(0) @binding(2) var packed: texture_storage_2d<rgba32uint, read>;
        @group(0) @binding(3) var made: texture_storage_2d<rgba32float, write>;
        @group(0) @binding(4) var table: texture_2d<f32>;
        @group(0) @binding(5) var indices: texture_2d<u32>;
        @group(0) @binding(6) var<uniform> shape: vec4<u32>;
        @group(0) @binding(7) var<storage, read_write> out: array<f32>;
        @compute @workgroup_size(64) fn f(@builtin(global_invocation_id) id: vec3<u32>) {
            let at = vec2<i32>(id.xy);
            let word = textureLoad(packed, at) + textureLoad(indices, at, 0);
            textureStore(made, at, textureLoad(table, at, 0) * f32(shape.x));
            out[id.x] = x[id.x] + f32(word.x + params.x);
        }";
    let (module, info) = shader::validate(text, false).unwrap();
    let slots = slots::Slots::of(&module);
    let at = |binding| naga::ResourceBinding { group: 0, binding };
    let metal = |binding| {
        let target = &slots.metal.resources[&at(binding)];
        (target.buffer, target.texture, target.mutable)
    };
    assert_eq!([0, 1, 6, 7].map(|b| metal(b).0), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!([2, 3, 4, 5].map(|b| metal(b).1), [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!((metal(3).2, metal(2).2, metal(7).2), (true, false, true));
    assert_eq!(slots.metal.sizes_buffer, Some(4));
    let register = |binding| slots.dx12[&at(binding)].register;
    assert_eq!((register(6), register(0), slots.dx12_constants.register), (0, 1, 2), "CBV");
    assert_eq!([1, 4, 5].map(register), [0, 1, 2], "SRV");
    assert_eq!([2, 3, 7].map(register), [0, 1, 2], "UAV");
    let options = Options { subgroups: false, f16: false, zero_workgroup_memory: false };
    assert_eq!(translate::translate(&module, &info, options).unwrap().len(), 9);
}
