//! `killick devices`: which GPUs there are and what they offer.

use std::io::Write;

use anyhow::bail;

use super::args::{DevicesArgs, F16Arg, GpuArgs, TuneArg};
use super::tuning::{self, Measured};
use super::{load, print_json, printable};
use crate::bench::TunedProduct;
use crate::error::Error;
use crate::gpu::{AdapterDescription, Family, GpuError, Tuned, list_adapters};
use crate::kernels::choose;
use crate::model::PlannedProduct;

/// An adapter and what it runs.
#[derive(serde::Serialize)]
struct Described<'a> {
    #[serde(flatten)]
    adapter: &'a AdapterDescription,
    family: Family,
    kernels: Vec<String>,
}

pub(super) fn run(args: &DevicesArgs) -> anyhow::Result<()> {
    if args.kernels {
        return kernels(args);
    }
    let GpuArgs { gpu, baseline, max_binding, tune, f16, .. } = &args.gpu;
    let of_one = gpu.is_some() || *baseline || max_binding.is_some();
    if of_one || *tune != TuneArg::Auto || *f16 != F16Arg::Auto {
        bail!(
            "--gpu, --baseline, --max-binding, --tune and --f16 are about one device, which devices asks for --kernels alone"
        );
    }
    let adapters = pollster::block_on(list_adapters());
    let family_of = |adapter: &AdapterDescription| args.gpu.family.map_or(adapter.family(), Family::from);
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

/// A product, and by which kernel a device makes it.
#[derive(serde::Serialize)]
struct Line<'a> {
    op: &'a str,
    layout: &'a str,
    rows: u32,
    cols: u32,
    /// How often a step makes it.
    uses: u32,
    implementation: &'a str,
    workgroup: u32,
    /// What was measured; `None` where the usual kernel runs unmeasured.
    measured: Option<&'a TunedProduct>,
}

/// `--kernels`: which kernels run a model's products on one GPU, and why.
fn kernels(args: &DevicesArgs) -> anyhow::Result<()> {
    let model = load::open_path(args.model.as_deref(), &[])?;
    let engine = load::open_device(&args.gpu)?;
    let label = printable(model.file.label());
    let Measured { engine, planned, products } =
        tuning::measured(&engine, &model, args.dtype.into(), &args.gpu)?;
    let (adapter, capabilities) = (engine.gpu().adapter(), engine.gpu().capabilities());
    let mut lines = Vec::new();
    for product in planned {
        let PlannedProduct { op, layout, shape: [rows, cols], uses } = product;
        let measured = products.iter().find(|one| one.is(&product));
        let usual = choose::usual_product(op, layout, capabilities).map_err(Error::from)?;
        let (implementation, workgroup) = measured.map_or((usual.0.kernel.name, usual.1), |one| {
            (one.chosen.implementation.as_str(), one.chosen.workgroup)
        });
        lines.push(Line { op, layout: layout.name(), rows, cols, uses, implementation, workgroup, measured });
    }
    if args.json {
        return print_json(&lines);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}  {}, {} family, {label}", adapter.index, adapter.name, capabilities.family.name())?;
    for Line { op, layout, rows, cols, uses, implementation, workgroup, measured } in &lines {
        let why = measured.map_or_else(|| "the usual one, not measured".to_owned(), reason);
        writeln!(
            out,
            "   {uses:>3} x {op} {rows}x{cols} {layout}: {implementation}, workgroups of {workgroup}; {why}"
        )?;
    }
    Ok(())
}

/// Why a kernel was chosen.
fn reason(one: &TunedProduct) -> String {
    let faults = one.trials.iter().filter(|trial| trial.fault.is_some()).count();
    let wrong = if faults > 0 { format!(", {faults} of them wrong here") } else { String::new() };
    let others = one.trials.len();
    if one.chosen == one.default {
        return format!("the usual one, of {others} measured{wrong} none is faster");
    }
    let Tuned { implementation, workgroup } = &one.default;
    format!("{:.2} times as fast as {implementation} of {workgroup}, {others} measured{wrong}", one.gain())
}
