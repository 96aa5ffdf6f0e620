//! A kernel variant as naga sees it: composed as the engine composes it, parsed, validated.

use killick::gpu::pipeline::{Kernel, Variant};
use naga::Module;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// Parses and validates. What needs subgroups is valid only where they are allowed, and 16-bit floats where the first line enables them.
pub(crate) fn validate(text: &str, subgroups: bool) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, text.starts_with("enable f16;"));
    capabilities.set(Capabilities::SUBGROUP, subgroups);
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|error| error.emit_to_string(text))?;
    Ok((module, info))
}

/// The module of a variant. The baseline variants must do without the capability for subgroups.
pub(crate) fn module(kernel: &Kernel, variant: &Variant) -> (Module, ModuleInfo) {
    validate(&kernel.compose(variant), variant.subgroups)
        .unwrap_or_else(|error| panic!("{} {variant:?}: {error}", kernel.name))
}

/// A name for a variant that is one word, also as the stem of a file.
pub(crate) fn name(kernel: &Kernel, variant: &Variant) -> String {
    let weight = variant.weight.map_or("plain", |part| part.name);
    let reduction = if variant.subgroups { "subgroups" } else { "tree" };
    let output = if variant.residual { "add" } else { "set" };
    let texels = match (kernel.reads_texels(), variant.sampled) {
        (false, _) => String::new(),
        (true, sampled) => {
            let of_head = if variant.texels > 1 { format!("x{}", variant.texels) } else { String::new() };
            format!("-{}{of_head}-{}", variant.inputs, if sampled { "sampled" } else { "storage" })
        }
    };
    let entries = variant.entries.map_or(String::new(), |format| format!("-{}", format.name()));
    let norm = if variant.gain_len > 0 { "-normed" } else { "" };
    format!("{}-{}-{weight}-{reduction}-{output}{norm}{texels}{entries}", kernel.name, variant.workgroup)
}
