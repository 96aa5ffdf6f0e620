//! `killick devices`: which GPUs there are and what they offer.

use std::io::Write;

use super::args::DevicesArgs;
use super::print_json;
use crate::error::Error;
use crate::gpu::{AdapterDescription, Family, GpuError, list_adapters};
use crate::kernels::choose;

/// An adapter and what it runs.
#[derive(serde::Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    adapter: &'a AdapterDescription,
    family: Family,
    kernels: Vec<String>,
}

pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let adapters = pollster::block_on(list_adapters());
    let family_of = |adapter: &AdapterDescription| args.family.map_or(adapter.family(), Family::from);
    if args.json {
        let described = adapters.iter().map(|adapter| {
            let family = family_of(adapter);
            Described { adapter, family, kernels: choose::listing(family) }
        });
        return print_json(&described.collect::<Vec<_>>());
    }
    if adapters.is_empty() {
        return Err(Error::from(GpuError::NoAdapter).into());
    }
    let mut out = std::io::stdout().lock();
    for a in &adapters {
        writeln!(out, "{}  {}", a.index, a.name)?;
        let driver = format!("{} {}", a.driver, a.driver_info);
        writeln!(out, "   {} {}, driver {}", a.backend, a.device_type, driver.trim())?;
        let features = if a.features.is_empty() { "none".to_owned() } else { a.features.join(", ") };
        let [least, most] = a.subgroup_sizes;
        writeln!(out, "   optional features: {features}; subgroups of {least} to {most}")?;
        writeln!(
            out,
            "   binding {} MiB, buffer {} MiB, {} storage buffers, {} invocations, {} KiB of workgroup memory",
            a.max_binding_bytes >> 20,
            a.max_buffer_bytes >> 20,
            a.max_storage_buffers,
            a.max_invocations,
            a.max_workgroup_bytes >> 10
        )?;
        let family = family_of(a);
        writeln!(out, "   kernels of the {} family: {}", family.name(), choose::listing(family).join(", "))?;
        if !a.usable {
            writeln!(out, "   not usable: it lacks WebGPU's default limits")?;
        }
    }
    Ok(())
}
