//! `killick bench`: how fast a model is here, or its kernels; and reports of several machines side by side.
//!
//! ```text
//! mod.rs       a model, end to end
//! kernels.rs   kernels
//! compare.rs   reports side by side
//! ```

mod compare;
mod kernels;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use web_time::Instant;

use super::args::{BenchArgs, Form, TestArgs};
use super::eval::Named;
use super::{load, printable};
use crate::bench::{self, Machine, Method, ProfileRow, Report, Row, Subject, Test, TestRow};
use crate::engine::{Engine, Loaded, Opened};
use crate::error::Error;
use crate::gpu::Gpu;
use crate::kv::Preset;
use crate::model_file::{FileSet, ModelFile, TokenizerSource};
use crate::policy_options::PolicyOptions;

/// Depths of `--depth-sweep` where none are given.
const SWEEP_ON_GPU: [u32; 7] = [0, 512, 1024, 2048, 4096, 8192, 16_384];
const SWEEP_ON_SOFTWARE: [u32; 5] = [0, 128, 256, 512, 1024];

/// The anchor of a model without a tokenizer.
const MADE_UP_ANCHOR: u32 = 0;

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    if !args.what.compare.is_empty() {
        return compare::run(&args.what.compare, args.output, args.report.as_deref());
    }
    let rows = if args.what.kernels { kernels::measure(args)? } else { end_to_end(args)? };
    finish(args, &rows)
}

/// Measures a model.
fn end_to_end(args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
    let begun = Instant::now();
    // What is wrong with the flags is said before a device is waited for.
    tests(args, false)?;
    let opened = open(args)?;
    let policies = policies_of(args, &opened)?;
    let engine = load::open_device(&args.gpu)?;
    let loaded = load::load(&engine, opened, &args.model, &args.gpu)?;
    // A device that refused a kernel while they were measured was opened anew.
    let engine = Engine::from(loaded.model.gpu().clone());
    let load_time = begun.elapsed();
    if args.what.profile && !engine.gpu().has_timestamps() {
        bail!(
            "--profile: {} has no timestamps, so its kernels cannot be told apart",
            engine.gpu().adapter().name
        );
    }
    if args.shape.is_none() {
        load::name_embedded(&args.model, args.output != Form::Md);
    }
    let subject = Subject {
        machine: machine(engine.gpu())?,
        label: loaded.model.label().to_owned(),
        format: args.model.dtype.into(),
        load: load_time,
    };
    measure_all(args, &engine, &loaded, &policies, &subject)
}

fn measure_all(
    args: &BenchArgs,
    engine: &Engine,
    loaded: &Loaded,
    policies: &[Named],
    subject: &Subject,
) -> anyhow::Result<Vec<Row>> {
    let tests = tests(args, engine.gpu().is_software())?;
    let method = Method {
        repetitions: args.tests.repetitions.unwrap_or(if args.what.depth_sweep { 3 } else { 5 }),
        warmup: !args.tests.no_warmup,
        segment: args.tests.segment,
        seed: args.tests.seed,
        session: args.policy.session(),
        cpu_seconds: Some(cpu_seconds),
        profile: args.what.profile,
    };
    let (mut rows, mut done, all) = (Vec::new(), 0, policies.len() * tests.len());
    for named in policies {
        for test in &tests {
            done += 1;
            let bar = bar(&format!("{done}/{all} {} {}", named.name, test.name()));
            let mut progress = |done: u32, runs: u32| {
                bar.set_length(runs.into());
                bar.set_position(done.into());
            };
            // A capacity that was asked for stands; else it is what the test needs.
            let policy = match args.policy.ctx {
                Some(_) => named.policy.clone(),
                None => bench::with_room(&named.policy, test),
            };
            let measured =
                pollster::block_on(bench::measure(&loaded.model, &policy, *test, &method, &mut progress));
            bar.finish_and_clear();
            let measured =
                measured.map_err(Error::from).with_context(|| format!("{}, {}", named.name, test.name()))?;
            let row = TestRow::of(subject, &loaded.model, (&named.name, &policy), &method, &measured);
            let shares = ProfileRow::all(&row, &measured);
            let of_kernels = shares.into_iter().map(|share| Row::Profile(Box::new(share)));
            for row in std::iter::once(Row::Test(Box::new(row))).chain(of_kernels) {
                said(args, &row)?;
                rows.push(row);
            }
        }
    }
    Ok(rows)
}

/// The model that the flags name.
fn open(args: &BenchArgs) -> anyhow::Result<Opened> {
    let Some(shape) = &args.shape else { return load::open(&args.model) };
    let files = if bench::shape_names().any(|name| name == shape) || !Path::new(shape).exists() {
        bench::shape(shape).map_err(Error::from)?
    } else {
        let config = load::read_text(Path::new(shape))?;
        let label =
            Path::new(shape).parent().and_then(Path::file_name).unwrap_or(Path::new(shape).as_os_str());
        FileSet::synthetic(label.to_string_lossy(), &config).map_err(Error::from)?
    };
    Ok(Opened::new(pollster::block_on(ModelFile::open(files)).map_err(Error::from)?))
}

/// The policies that are compared.
fn policies_of(args: &BenchArgs, opened: &Opened) -> anyhow::Result<Vec<Named>> {
    let shared = args.policy.options()?;
    if !args.policies.is_empty() {
        let named =
            |choice: &super::eval::PolicyChoice| named(opened, choice.text(), choice.options(&shared));
        return args.policies.iter().map(named).collect();
    }
    if args.what.depth_sweep && args.policy.policy.is_none() {
        return Preset::ALL
            .iter()
            .map(|preset| named(opened, preset.name(), every(*preset, &shared)))
            .collect();
    }
    let mut one = named(opened, "", shared)?;
    one.name = one.policy.preset.name().to_owned();
    Ok(vec![one])
}

/// What a preset of a sweep over all of them takes of the flags.
fn every(preset: Preset, shared: &PolicyOptions) -> PolicyOptions {
    let anchored = matches!(preset, Preset::Anchor | Preset::SepLlm);
    PolicyOptions {
        preset: Some(preset),
        anchors: if anchored { shared.anchors.clone() } else { Vec::new() },
        anchor_ids: if anchored { shared.anchor_ids.clone() } else { Vec::new() },
        ctx: shared.ctx.filter(|_| preset == Preset::Full),
        ..PolicyOptions::default()
    }
}

/// A policy that `options` ask for. Where there is no tokenizer to look anchors up in, the anchor is [`MADE_UP_ANCHOR`].
fn named(opened: &Opened, name: &str, mut options: PolicyOptions) -> anyhow::Result<Named> {
    let has_tokenizer = !matches!(opened.file.tokenizer(), TokenizerSource::None);
    if !has_tokenizer
        && matches!(options.preset, Some(Preset::Anchor | Preset::SepLlm))
        && options.anchors.is_empty()
        && options.anchor_ids.is_empty()
    {
        options.anchor_ids.push(MADE_UP_ANCHOR);
    }
    // What there is to say about a policy does not concern a model whose text is made up.
    let policy = load::choose_policy(opened, &options)?.policy;
    Ok(Named { name: name.to_owned(), policy })
}

/// The tests that the flags ask for, in llama-bench's order.
fn tests(args: &BenchArgs, software: bool) -> anyhow::Result<Vec<Test>> {
    let TestArgs { n_prompt, n_gen, pg, n_depth, batch, .. } = &args.tests;
    let or =
        |given: &[u32], default: &[u32]| if given.is_empty() { default.to_vec() } else { given.to_vec() };
    let sweep = args.what.depth_sweep;
    let sweep_depths = if software { &SWEEP_ON_SOFTWARE[..] } else { &SWEEP_ON_GPU };
    let depths = or(n_depth, if sweep { sweep_depths } else { &[0] });
    let prompts = or(n_prompt, if sweep { &[] } else { &[512] });
    let generated = or(n_gen, if sweep { &[32] } else { &[128] });
    let mut tests = Vec::new();
    for batch in or(batch, &[1]) {
        for n_depth in &depths {
            let pairs = prompts.iter().map(|n| (*n, 0)).chain(generated.iter().map(|n| (0, *n)));
            let pairs = pairs.chain(pg.iter().map(|pair| (pair.prompt, pair.generate)));
            let some = pairs.filter(|pair| *pair != (0, 0));
            tests.extend(some.map(|(n_prompt, n_gen)| Test { n_prompt, n_gen, n_depth: *n_depth, batch }));
        }
    }
    if tests.is_empty() {
        bail!("there is nothing to time: --n-prompt and --n-gen are 0, and there is no --pg");
    }
    if let Some(test) = tests.iter().find(|test| test.batch == 0) {
        bail!("batch is {}, it must be at least 1", test.batch);
    }
    Ok(tests)
}

/// This program and the device, with what the device can do at best.
fn machine(gpu: &Gpu) -> Result<Machine, Error> {
    let ceilings = pollster::block_on(bench::ceilings(gpu))?;
    Ok(Machine::of(gpu, option_env!("KILLICK_BUILD_COMMIT"), Some(ceilings)))
}

fn cpu_seconds() -> f64 {
    cpu_time::ProcessTime::now().as_duration().as_secs_f64()
}

/// A bar on standard error, while something is measured.
fn bar(what: &str) -> ProgressBar {
    let bar = load::bar("{msg} {bar:30} {pos}/{len} {elapsed}");
    bar.set_message(what.to_owned());
    bar
}

/// Prints a row as soon as it is there, where the form allows it.
fn said(args: &BenchArgs, row: &Row) -> anyhow::Result<()> {
    if args.output == Form::Jsonl {
        print(&bench::jsonl(std::slice::from_ref(row)))?;
    }
    Ok(())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints all rows, and what is to be said about them.
fn finish(args: &BenchArgs, rows: &[Row]) -> anyhow::Result<ExitCode> {
    match args.output {
        Form::Md => print(&format!("{}\n{}", bench::markdown(rows), footer(rows)))?,
        Form::Csv => print(&bench::csv(rows))?,
        Form::Json => print(&bench::json(rows))?,
        Form::Jsonl => {}
    }
    for remark in bench::remarks(rows) {
        let _ = writeln!(std::io::stderr(), "killick: note: {}", printable(&remark));
    }
    if let Some(file) = &args.report {
        let reports = [Report { name: "Figures".to_owned(), rows: rows.to_vec() }];
        page(file, "Killick, measured", &reports)?;
    }
    // Figures of a kernel that is wrong are worth nothing, so the program must not end as if all were well.
    let wrong = rows.iter().filter_map(Row::as_kernel).filter(|row| row.check != "ok").count();
    if wrong > 0 {
        bail!("{wrong} of {} kernels differ from their CPU twins", rows.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a page.
fn page(file: &Path, title: &str, reports: &[Report]) -> anyhow::Result<()> {
    std::fs::write(file, bench::page(title, reports)).with_context(|| format!("writing {}", file.display()))
}

/// The machine under a table.
fn footer(rows: &[Row]) -> String {
    let Some(machine) = rows.first().map(Row::machine) else { return String::new() };
    let mut text = format!(
        "build: {} ({})\ngpu: {} ({}, {}), driver {}, kernels of the {} family\n",
        machine.build_commit,
        machine.build_version,
        machine.gpu_info,
        machine.backends,
        machine.device_type,
        machine.driver,
        machine.family
    );
    if let (Some(bandwidth), Some(arithmetic)) = (machine.bandwidth, machine.arithmetic) {
        text.push_str(&format!("measured: {:.1} GB/s, {:.1} GFLOP/s\n", bandwidth / 1e9, arithmetic / 1e9));
    }
    if let Some(Row::Test(row)) = rows.first() {
        text.push_str(&format!("load: {:.2} s\n", row.load_ns as f64 / 1e9));
    }
    printable_lines(&text)
}

/// [`printable`], line by line.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}
