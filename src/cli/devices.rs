//! `killick devices`: which GPUs there are and what they offer.

use std::io::Write;

use super::args::DevicesArgs;
use super::print_json;
use crate::error::Error;
use crate::gpu::Family;
use crate::gpu::{GpuError, list_adapters};
use crate::kernels::choose;

pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    let adapters = pollster::block_on(list_adapters());
    if args.json {
        return print_json(&adapters);
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
        let family = args.family.map_or(a.family(), Family::from);
        writeln!(out, "   kernels of the {} family: {}", family.name(), choose::listing(family).join(", "))?;
        if !a.usable {
            writeln!(out, "   not usable: it lacks WebGPU's default limits")?;
        }
    }
    Ok(())
}
