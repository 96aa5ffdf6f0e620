//! `killick bench` as far as a browser allows: tests of a model and kernels one by one, as the rows that the native program writes.
//!
//! There is no processor time here; the device's own is there where the browser lets pages have timestamps.

use std::time::Duration;

use js_sys::Function;
use killick::bench::{self, Machine, Method, Row, Subject, Test, TestRow};
use killick::gpu::Gpu;
use killick::kernels::WeightFormat;
use killick::{Loaded, SessionOptions};
use serde::Deserialize;
use serde::Serialize;
use wasm_bindgen::JsValue;

use crate::engine::json;
use crate::error::Fault;
use crate::options::{Dtype, PolicyArgs, parse};

/// What is measured of a model.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelOptions {
    tests: Vec<TestArgs>,
    policies: Vec<PolicyArgs>,
    repetitions: u32,
    /// What the browser says it is.
    platform: String,
    /// How the weights were loaded, and how long that took.
    dtype: Dtype,
    load_ms: f64,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TestArgs {
    n_prompt: u32,
    n_gen: u32,
    n_depth: u32,
    batch: u32,
}

impl Default for TestArgs {
    fn default() -> Self {
        Self { n_prompt: 0, n_gen: 0, n_depth: 0, batch: 1 }
    }
}

/// Which kernels are measured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KernelOptions {
    /// A known model; the smallest and odd sizes where it is not given.
    shape: Option<String>,
    /// Texts that a kernel's name has to have.
    #[serde(default)]
    filter: Vec<String>,
    repetitions: u32,
    platform: String,
}

/// What came of it: the rows as JSON, and the same as Markdown with what is to be said about them.
#[derive(Serialize)]
struct Measured<'a> {
    json: String,
    markdown: String,
    remarks: &'a [String],
}

/// Time of one kernel at one shape, in all repetitions.
const LONG: Duration = Duration::from_millis(150);

async fn machine(gpu: &Gpu, platform: String) -> Result<Machine, Fault> {
    let ceilings = bench::ceilings(gpu).await?;
    Ok(Machine { platform, ..Machine::of(gpu, None, Some(ceilings)) })
}

/// Tests of a model, each under each policy. `progress` is called with runs done, runs in all and what runs.
pub(crate) async fn model(loaded: &Loaded, options: &str, progress: &Function) -> Result<String, Fault> {
    let ModelOptions { tests, policies, repetitions, platform, dtype, load_ms } = parse(options)?;
    let policies: Vec<_> =
        policies.into_iter().map(|policy| policy.choose(&loaded.opened, None)).collect::<Result<_, _>>()?;
    let subject = Subject {
        machine: machine(loaded.model.gpu(), platform).await?,
        label: loaded.model.label().to_owned(),
        format: WeightFormat::from(dtype),
        load: Duration::try_from_secs_f64(load_ms / 1e3).unwrap_or_default(),
    };
    // Segment and seed are the native program's defaults, so that the rows compare.
    let session = SessionOptions::default();
    let method = Method {
        repetitions,
        warmup: true,
        segment: 24,
        seed: 0,
        session,
        cpu_seconds: None,
        profile: false,
    };
    let mut rows = Vec::new();
    for chosen in &policies {
        for args in &tests {
            let TestArgs { n_prompt, n_gen, n_depth, batch } = *args;
            let test = Test { n_prompt, n_gen, n_depth, batch };
            let policy = bench::with_room(&chosen.policy, &test);
            let name = chosen.policy.preset.name();
            let what = format!("{name}, {}", test.name());
            let mut tell = |done: u32, all: u32| say(progress, done, all, &what);
            tell(0, repetitions.saturating_add(1));
            let measured = bench::measure(&loaded.model, &policy, test, &method, &mut tell).await?;
            let row = TestRow::of(&subject, &loaded.model, (name, &policy), &method, &measured);
            rows.push(Row::Test(Box::new(row)));
        }
    }
    Ok(report(&rows))
}

/// Kernels one by one, each against its twin on the processor.
pub(crate) async fn kernels(gpu: &Gpu, options: &str, progress: &Function) -> Result<String, Fault> {
    let KernelOptions { shape, filter, repetitions, platform } = parse(options)?;
    let cases = bench::kernel_cases(gpu, shape.as_deref(), &filter)?;
    if cases.is_empty() {
        return Err(Fault::option(format!("filter: no kernel has {filter:?} in its name")));
    }
    let machine = machine(gpu, platform).await?;
    let all = u32::try_from(cases.len()).unwrap_or(u32::MAX);
    let mut rows = Vec::new();
    for (done, case) in (0..).zip(cases) {
        say(progress, done, all, &case.name());
        rows.push(Row::Kernel(Box::new(case.measure(gpu, &machine, (repetitions, LONG), None).await?)));
    }
    Ok(report(&rows))
}

fn report(rows: &[Row]) -> String {
    let remarks = bench::remarks(rows);
    json(&Measured { json: bench::json(rows), markdown: bench::markdown(rows), remarks: &remarks })
}

/// Tells whoever listens; what a listener throws is its own affair.
fn say(progress: &Function, done: u32, all: u32, what: &str) {
    let _ = progress.call3(&JsValue::NULL, &done.into(), &all.into(), &what.into());
}
