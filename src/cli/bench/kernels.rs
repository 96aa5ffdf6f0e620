//! `killick bench --kernels`: every kernel at the shapes of real models.

use std::time::Duration;

use anyhow::bail;

use super::{bar, cpu_seconds, machine, said};
use crate::bench::{Row, kernel_cases};
use crate::cli::args::BenchArgs;
use crate::cli::load;
use crate::error::Error;

/// How long one kernel is timed at one shape, in all repetitions.
const LONG: Duration = Duration::from_millis(150);

/// Measures what the filter leaves.
pub(super) fn measure(args: &BenchArgs) -> anyhow::Result<Vec<Row>> {
    let engine = load::open_device(&args.gpu)?;
    let gpu = engine.gpu();
    let cases = kernel_cases(gpu, args.shape.as_deref(), &args.what.filter).map_err(Error::from)?;
    if cases.is_empty() {
        bail!("no kernel has {:?} in its op, implementation, layout, shape and model", args.what.filter);
    }
    let machine = machine(gpu)?;
    let repetitions = args.tests.repetitions.unwrap_or(5);
    let bar = bar("kernels");
    bar.set_length(cases.len() as u64);
    let mut rows = Vec::new();
    for case in cases {
        bar.set_message(case.name());
        let how = (repetitions, LONG);
        let row = pollster::block_on(case.measure(gpu, &machine, how, Some(cpu_seconds)));
        let row = Row::Kernel(Box::new(row.map_err(Error::from)?));
        said(args, &row)?;
        rows.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(rows)
}
