//! `killick eval`: what a model is worth under one policy or several.
//!
//! ```text
//! policies.rs    the policies that are compared
//! perplexity.rs  the loss on held-out text
//! choices.rs     multiple choice
//! recall.rs      a fact stated n sentences ago
//! ```

mod choices;
mod perplexity;
mod policies;
mod recall;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use indicatif::ProgressBar;

use self::policies::policies;
pub(super) use self::policies::{Named, PolicyChoice};
use super::args::{CommonArgs, Eval, EvalArgs};
use super::{load, print_json};
use crate::engine::{Engine, Opened};
use crate::error::Error;
use crate::eval::Chart;
use crate::model::Model;
use crate::tokenizer::Tokenizer;

pub(super) fn run(args: &EvalArgs) -> anyhow::Result<()> {
    match &args.what {
        Eval::Perplexity(args) => perplexity::run(args),
        Eval::Choices(args) => choices::run(args),
        Eval::Recall(args) => recall::run(args),
    }
}

/// What is known of a model before it is loaded.
struct Subject {
    model: Opened,
    tokenizer: Tokenizer,
    policies: Vec<Named>,
}

impl Subject {
    fn open(args: &CommonArgs) -> anyhow::Result<Self> {
        let model = load::open(&args.model)?;
        let tokenizer = model.tokenizer()?;
        let policies = policies(&args.policies, &args.policy.options()?, &model)?;
        Ok(Self { model, tokenizer, policies })
    }
}

fn load_model(model: Opened, args: &CommonArgs) -> Result<(Engine, Arc<Model>), Error> {
    let gpu = args.gpu.for_figures();
    let engine = load::open_device(&gpu)?;
    let loaded = load::load(&engine, model, &args.model, &gpu)?;
    load::name_embedded(&args.model, args.json);
    Ok((engine, loaded.model))
}

/// A bar on standard error, while a policy is measured.
fn bar(what: &str) -> ProgressBar {
    let bar = load::bar("{msg} {bar:30} {pos}/{len} {eta}");
    bar.set_message(what.to_owned());
    bar
}

/// Writes a chart to the file of `--svg`, if it is given.
fn draw(file: Option<&Path>, chart: &Chart) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    std::fs::write(file, chart.svg()).with_context(|| format!("writing {}", file.display()))
}

/// Prints rows in columns as wide as they need; the first row is the heading, the first column names.
fn print_table(rows: &[Vec<String>]) -> anyhow::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = std::io::stdout().lock();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn mib(bytes: f64) -> String {
    format!("{:.2}", bytes / f64::from(1 << 20))
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}
