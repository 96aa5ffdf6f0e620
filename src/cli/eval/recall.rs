//! `killick eval recall`: a fact stated n sentences ago, asked for now, under several policies.

use std::io::Write;

use serde::Serialize;

use super::{Subject, bar, draw, load, load_model, percent, print_json, print_table};
use crate::cli::args::RecallArgs;
use crate::error::Error;
use crate::eval::{Chart, Line, RecallOptions, RecallReport, filler_of, recall, trials};
use crate::gpu::AdapterDescription;
use crate::kv::Policy;

/// The document that `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    options: &'a RecallOptions,
    results: &'a [Row],
    adapter: &'a AdapterDescription,
}

#[derive(Serialize)]
struct Row {
    name: String,
    policy: Policy,
    distances: Vec<RecallReport>,
}

pub(super) fn run(args: &RecallArgs) -> anyhow::Result<()> {
    let subject = Subject::open(&args.common)?;
    let options = RecallOptions {
        distances: args.distances.clone(),
        trials: args.trials,
        lead: args.lead,
        distractors: args.distractors,
        kinds: args.facts.kinds(),
        seed: args.seed,
    };
    let text = args.filler.as_deref().map(load::read_text).transpose()?;
    let filler = filler_of(text.as_deref());
    // What is wrong with a setting is said before a model is loaded.
    for distance in &options.distances {
        trials(&options, &filler, *distance).map_err(Error::from)?;
    }
    let (engine, model) = load_model(subject.model, &args.common)?;

    let (mut rows, session) = (Vec::new(), args.common.policy.session());
    for named in &subject.policies {
        let bar = bar(&named.name);
        let mut progress = |done: usize, steps: usize| {
            bar.set_length(steps as u64);
            bar.set_position(done as u64);
        };
        let report =
            recall(&model, &subject.tokenizer, &named.policy, session, &options, &filler, &mut progress);
        let distances = pollster::block_on(report)?;
        bar.finish_and_clear();
        rows.push(Row { name: named.name.clone(), policy: named.policy.clone(), distances });
    }
    draw(args.svg.as_deref(), &chart(&rows, &options))?;
    if args.common.json {
        return print_json(&Report {
            model: model.label(),
            options: &options,
            results: &rows,
            adapter: engine.gpu().adapter(),
        });
    }
    print(&rows, &options)
}

/// A line for each policy, and the level of guessing.
fn chart(rows: &[Row], options: &RecallOptions) -> Chart {
    let point = |report: &RecallReport| (report.distance as f64, 100.0 * report.acc);
    let line = |row: &Row| Line { name: row.name.clone(), points: row.distances.iter().map(point).collect() };
    let chance = 100.0 / (options.distractors as f64 + 1.0);
    Chart {
        title: format!("Recall of a fact, {} trials at each distance", options.trials),
        x: "sentences since the fact".to_owned(),
        log_x: true,
        y: "right answer likeliest, %".to_owned(),
        from_zero: false,
        lines: rows
            .iter()
            .map(line)
            .chain([Line { name: "guessing".to_owned(), points: vec![(1.0, chance)] }])
            .collect(),
    }
}

fn print(rows: &[Row], options: &RecallOptions) -> anyhow::Result<()> {
    let heading = ["policy", "n", "tokens back", "acc %", "+-", "exact %", "+-", "C %", "live", "peak"];
    let mut table = vec![heading.map(str::to_owned).to_vec()];
    for row in rows {
        for report in &row.distances {
            table.push(vec![
                row.name.clone(),
                report.distance.to_string(),
                format!("{:.0}", report.tokens_back),
                percent(report.acc),
                percent(report.acc_stderr),
                percent(report.exact),
                percent(report.exact_stderr),
                percent(report.cache_reduction),
                format!("{:.1}", report.live),
                report.peak_live.to_string(),
            ]);
        }
    }
    print_table(&table)?;
    let chance = 100.0 / (options.distractors as f64 + 1.0);
    let mut out = std::io::stdout().lock();
    Ok(writeln!(
        out,
        "{} trials at each n; guessing gives {chance:.1} %; +- is one standard error",
        options.trials
    )?)
}
