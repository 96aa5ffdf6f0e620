//! `killick eval perplexity`: the loss on held-out text under several policies.

use std::io::Write;

use serde::Serialize;

use super::policies::Named;
use super::{Subject, bar, draw, load, load_model, mib, percent, print_json, print_table};
use crate::cli::args::PerplexityArgs;
use crate::error::Error;
use crate::eval::{Chart, HeldOut, Line, LossReport, perplexity, with_budget};
use crate::gpu::AdapterDescription;
use crate::kernels::KvFormat;
use crate::kv::{Place, Policy, Preset};
use crate::model::entry_bytes;

/// Tokens of a window where the model was trained for more.
const DEFAULT_WINDOW: usize = 1024;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    text: TextReport,
    max_length: usize,
    stride: usize,
    kv_format: KvFormat,
    entry_bytes: u64,
    results: &'a [Row],
    adapter: &'a AdapterDescription,
}

#[derive(Serialize)]
struct TextReport {
    tokens: usize,
    bytes: u64,
    windows: usize,
    read: usize,
}

#[derive(Serialize)]
struct Row {
    name: String,
    budget: Option<u32>,
    policy: Policy,
    #[serde(flatten)]
    loss: LossReport,
}

pub(super) fn run(args: &PerplexityArgs) -> anyhow::Result<()> {
    let subject = Subject::open(&args.common)?;
    let text = load::read_text(&args.file)?;
    let text = HeldOut::new(&subject.tokenizer, &text, place(&subject.policies))?;
    let context = subject.model.file.config.context_len as usize;
    let size = args.max_length.unwrap_or(context.min(DEFAULT_WINDOW));
    let stride = args.stride.unwrap_or(size);
    let windows = text.windows(size, stride, args.limit.unwrap_or(usize::MAX)).map_err(Error::from)?;
    for (named, window) in
        subject.policies.iter().flat_map(|named| windows.iter().map(move |window| (named, window)))
    {
        subject.model.check(&named.policy, &text.reading(&named.policy, window).ids)?;
    }
    let (engine, model) = load_model(subject.model, &args.common)?;

    let (mut rows, session) = (Vec::new(), args.common.policy.session());
    let entry_bytes = entry_bytes(model.config(), session.kv);
    for (named, budget, policy) in sweep(&subject.policies, &args.budgets) {
        let bar = bar(&named.name);
        let mut progress = |done: usize, steps: usize| {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
        };
        let loss = pollster::block_on(perplexity(&model, &policy, session, &text, &windows, &mut progress))?;
        bar.finish_and_clear();
        rows.push(Row { name: named.name.clone(), budget, policy, loss });
    }
    draw(args.svg.as_deref(), &chart(&rows, size, entry_bytes))?;
    let read = windows.last().map_or(0, |window| window.read.end);
    if args.common.json {
        return print_json(&Report {
            model: model.label(),
            text: TextReport {
                tokens: text.len(),
                bytes: text.bytes(0..text.len()),
                windows: windows.len(),
                read,
            },
            max_length: size,
            stride,
            kv_format: session.kv,
            entry_bytes,
            results: &rows,
            adapter: engine.gpu().adapter(),
        });
    }
    print(&rows, windows.len(), size, read, text.len())
}

/// Where the policies insert anchors, if any of them does.
fn place(policies: &[Named]) -> Option<Place> {
    policies.iter().find_map(|named| named.policy.insert).map(|insert| insert.place)
}

/// Each policy as it is, and with its bounds set for each budget that it can be set for.
fn sweep<'a>(policies: &'a [Named], budgets: &[u32]) -> Vec<(&'a Named, Option<u32>, Policy)> {
    let mut all = Vec::new();
    for named in policies {
        all.push((named, None, named.policy.clone()));
        let fit = |budget: &u32| Some((named, Some(*budget), with_budget(&named.policy, *budget)?));
        all.extend(budgets.iter().filter_map(fit));
    }
    all
}

/// A line for each policy: through its budgets, or where there are none, or none can be set, its one point.
fn chart(rows: &[Row], size: usize, entry_bytes: u64) -> Chart {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let swept = rows.iter().any(|other| other.name == row.name && other.budget.is_some());
        if swept && row.budget.is_none() {
            continue;
        }
        let point = (row.loss.live, row.loss.mean_nll);
        match lines.iter_mut().find(|line| line.name == row.name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name: row.name.clone(), points: vec![point] }),
        }
    }
    let full = rows.iter().filter(|row| row.policy.preset == Preset::Full).map(|row| row.loss.live);
    let entry = entry_bytes as f64 / 1024.0;
    let whole = full.fold(0.0, f64::max);
    Chart {
        title: format!("Loss against cache, windows of {size} tokens"),
        x: match whole > 0.0 {
            true => format!("live entries at the end of a window ({entry:.1} KiB each; full has {whole:.0})"),
            false => format!("live entries at the end of a window ({entry:.1} KiB each)"),
        },
        log_x: true,
        y: "mean loss, nats per token".to_owned(),
        from_zero: false,
        lines,
    }
}

fn print(rows: &[Row], windows: usize, size: usize, read: usize, tokens: usize) -> anyhow::Result<()> {
    let mut table = vec![
        [
            "policy",
            "budget",
            "nats",
            "ppl",
            "bits/byte",
            "C %",
            "live",
            "peak",
            "live MiB",
            "kv MiB",
            "tok/s",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for Row { name, budget, loss, .. } in rows {
        table.push(vec![
            name.clone(),
            budget.map_or_else(|| "-".to_owned(), |budget| budget.to_string()),
            format!("{:.4}", loss.mean_nll),
            format!("{:.3}", loss.perplexity),
            format!("{:.4}", loss.bits_per_byte),
            percent(loss.cache_reduction),
            format!("{:.1}", loss.live),
            loss.peak_live.to_string(),
            mib(loss.kv_bytes_live),
            mib(loss.kv_bytes_allocated as f64),
            format!("{:.1}", loss.tokens_per_second),
        ]);
    }
    print_table(&table)?;
    let counted = rows.first().map_or(0, |row| row.loss.tokens);
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{counted} tokens counted, the same for every policy, in {windows} windows of at most {size} ({read} of {tokens} tokens \
         of the text)"
    )?;
    if let Some(row) = rows.iter().find(|row| row.loss.inserted > 0) {
        writeln!(
            out,
            "{} anchors were put into the text under {}; they are read, and their own loss is not counted",
            row.loss.inserted, row.name
        )?;
    }
    Ok(())
}
