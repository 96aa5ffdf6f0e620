//! `killick eval choices`: accuracy on multiple-choice items under several policies.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{Subject, bar, load, load_model, mib, percent, print_json, print_table};
use crate::cli::args::ChoicesArgs;
use crate::error::Error;
use crate::eval::{ChoiceReport, Choices, Item, PromptOptions, Uncached, choices, items, uncached};
use crate::gpu::AdapterDescription;
use crate::kv::Policy;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    file: String,
    shots: usize,
    seed: u64,
    prompt: &'a PromptOptions,
    gold: Vec<usize>,
    uncached: Option<Uncached>,
    results: &'a [Row],
    adapter: &'a AdapterDescription,
}

#[derive(Serialize)]
struct Row {
    name: String,
    policy: Policy,
    speedup: Option<f64>,
    #[serde(flatten)]
    choices: ChoiceReport,
}

pub(super) fn run(args: &ChoicesArgs) -> anyhow::Result<()> {
    let subject = Subject::open(&args.common)?;
    let others = args.shots_from.as_deref().map(read).transpose()?;
    let prompt = PromptOptions { delimiter: args.delimiter.clone(), separator: args.separator.clone() };
    let limit = args.limit.unwrap_or(usize::MAX);
    let task = Choices::new(read(&args.file)?, others.as_deref(), args.shots, limit, args.seed, prompt)
        .map_err(Error::from)?;
    let (engine, model) = load_model(subject.model, &args.common)?;

    let session = args.common.policy.session();
    let without = match args.time_uncached {
        0 => None,
        items => Some(pollster::block_on(uncached(&model, &subject.tokenizer, session, &task, items))?),
    };
    let mut rows = Vec::new();
    for named in &subject.policies {
        let bar = bar(&named.name);
        let mut progress = |done: usize, steps: usize| {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
        };
        let report = choices(&model, &subject.tokenizer, &named.policy, session, &task, &mut progress);
        let choices = pollster::block_on(report)?;
        bar.finish_and_clear();
        let speedup = without.map(|without| choices.speedup(&without));
        rows.push(Row { name: named.name.clone(), policy: named.policy.clone(), speedup, choices });
    }
    if args.common.json {
        return print_json(&Report {
            model: model.label(),
            file: args.file.display().to_string(),
            shots: args.shots,
            seed: args.seed,
            prompt: &task.prompt,
            gold: task.items.iter().map(|item| item.gold).collect(),
            uncached: without,
            results: &rows,
            adapter: engine.gpu().adapter(),
        });
    }
    print(&rows, args.shots, without)
}

fn read(file: &Path) -> anyhow::Result<Vec<Item>> {
    let text = load::read_text(file)?;
    Ok(items(&load::name_of(file), &text).map_err(Error::from)?)
}

fn print(rows: &[Row], shots: usize, without: Option<Uncached>) -> anyhow::Result<()> {
    let mut table = vec![
        ["policy", "acc %", "+-", "acc_norm %", "+-", "C %", "live", "peak", "kv MiB", "s/item", "T"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for Row { name, speedup, choices, .. } in rows {
        table.push(vec![
            name.clone(),
            percent(choices.acc),
            percent(choices.acc_stderr),
            percent(choices.acc_norm),
            percent(choices.acc_norm_stderr),
            percent(choices.cache_reduction),
            format!("{:.1}", choices.live),
            choices.peak_live.to_string(),
            mib(choices.kv_bytes_allocated as f64),
            format!("{:.3}", choices.seconds_per_item),
            speedup.map_or_else(|| "-".to_owned(), |speedup| format!("{speedup:.2}")),
        ]);
    }
    print_table(&table)?;
    let items = rows.first().map_or(0, |row| row.choices.items);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{items} items, {shots} demonstrations; +- is one standard error")?;
    if let Some(Uncached { items, seconds_per_item }) = without {
        writeln!(
            out,
            "T: {seconds_per_item:.3} s an item, with every choice read from the first token on under full attention (first {items} \
             items), by the time with the cache"
        )?;
    }
    Ok(())
}
