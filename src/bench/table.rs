//! Rows as text: a table for people (Markdown), columns for a spreadsheet (CSV), JSON, and JSON by the line.

use serde_json::Value;

use super::rows::count;
use super::schema::{KernelRow, ProfileRow, Row, TestRow};

/// A spread of the times above this is said, for the figures then hang on chance.
pub const MOST_SPREAD: f64 = 0.1;

/// A table of strings, its head first.
pub type Table = Vec<Vec<String>>;

/// The rows as a Markdown table, in llama-bench's columns and ours.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    for table in tables(rows) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&markdown_of(&table));
    }
    text
}

/// A table for each kind of rows that there are.
pub fn tables(rows: &[Row]) -> Vec<Table> {
    let tests: Vec<_> = rows.iter().filter_map(Row::as_test).collect();
    let kernels: Vec<_> = rows.iter().filter_map(Row::as_kernel).collect();
    let mut tables = Vec::new();
    if !tests.is_empty() {
        tables.push(of_tests(&tests));
    }
    if !kernels.is_empty() {
        tables.push(of_kernels(&kernels));
    }
    let shares: Vec<_> = rows.iter().filter_map(Row::as_profile).collect();
    if !shares.is_empty() {
        tables.push(of_shares(&shares));
    }
    tables
}

fn of_tests(rows: &[&TestRow]) -> Table {
    let batches = rows.iter().any(|row| row.batch != 1);
    let mut head = vec!["model", "size", "params", "backend", "policy"];
    if batches {
        head.push("batch");
    }
    head.extend([
        "test",
        "t/s",
        "live",
        "KV MiB",
        "MB/tok",
        "disp/tok",
        "CPU ms/tok",
        "GPU ms/tok",
        "TTFT ms",
    ]);
    head.extend(["% BW", "% FLOP/s"]);
    let mut table = vec![owned(&head)];
    for row in rows {
        let mut line = vec![
            row.model_type.clone(),
            size(row.model_size),
            count(row.model_n_params),
            row.machine.backends.clone(),
            row.policy.clone(),
        ];
        if batches {
            line.push(row.batch.to_string());
        }
        line.extend([
            row.test.clone(),
            plus_minus(row.avg_ts, row.stddev_ts),
            row.live_entries.to_string(),
            format!("{:.2}", mib(row.kv_bytes)),
            format!("{:.2}", row.bytes_per_token / 1e6),
            format!("{:.1}", row.dispatches_per_token),
            optional(row.cpu_s_per_token.map(|seconds| 1e3 * seconds), 2),
            optional(row.device_ns_per_token.map(|ns| ns / 1e6), 2),
            optional(row.ttft_ns.map(|ns| ns as f64 / 1e6), 1),
            optional(row.bandwidth_percent, 1),
            optional(row.arithmetic_percent, 1),
        ]);
        table.push(line);
    }
    table
}

fn of_kernels(rows: &[&KernelRow]) -> Table {
    let head = [
        "op",
        "implementation",
        "layout",
        "shape",
        "of",
        "check",
        "us",
        "GPU us",
        "GB/s",
        "GFLOP/s",
        "% BW",
        "% FLOP/s",
    ];
    let mut table = vec![owned(&head)];
    for row in rows {
        let check = match row.checked_percent {
            part if row.check == "ok" && part < 100.0 => format!("ok ({part:.1} %)"),
            _ => row.check.clone(),
        };
        table.push(vec![
            row.op.clone(),
            row.implementation.clone(),
            row.layout.clone(),
            row.shape.clone(),
            row.of.clone(),
            check,
            plus_minus(row.avg_ns / 1e3, row.stddev_ns / 1e3),
            optional(row.device_ns.map(|ns| ns / 1e3), 2),
            format!("{:.2}", row.gb_per_s),
            format!("{:.2}", row.gflop_per_s),
            optional(row.bandwidth_percent, 1),
            optional(row.arithmetic_percent, 1),
        ]);
    }
    table
}

fn of_shares(rows: &[&ProfileRow]) -> Table {
    let head =
        ["policy", "batch", "test", "implementation", "layout", "disp/tok", "us/disp", "us/tok", "% of all"];
    let mut table = vec![owned(&head)];
    for row in rows {
        table.push(vec![
            row.policy.clone(),
            row.batch.to_string(),
            row.test.clone(),
            row.implementation.clone(),
            row.layout.clone(),
            format!("{:.2}", row.dispatches_per_token),
            format!("{:.2}", row.device_ns_per_token / row.dispatches_per_token.max(1e-9) / 1e3),
            format!("{:.1}", row.device_ns_per_token / 1e3),
            format!("{:.1}", row.percent),
        ]);
    }
    table
}

/// Rows that are named one by one where their times differ; of more, only the worst.
const MOST_NAMED: usize = 3;

/// What is to be said about the rows beside their figures: repetitions that differ much, kernels that are wrong.
pub fn remarks(rows: &[Row]) -> Vec<String> {
    let name = |row: &Row| match row {
        Row::Test(row) if row.batch != 1 => format!("{}, {} of {} texts", row.policy, row.test, row.batch),
        Row::Test(row) => format!("{}, {}", row.policy, row.test),
        Row::Kernel(row) => format!("{} by {}, {}", row.op, row.implementation, row.shape),
        Row::Profile(row) => format!("{}, {} by {}", row.policy, row.test, row.implementation),
    };
    let mut spread: Vec<(f64, &Row)> = rows
        .iter()
        .filter_map(|row| Some((row.spread().filter(|spread| *spread > MOST_SPREAD)?, row)))
        .collect();
    let why = "the machine is busy, or there are too few repetitions";
    let mut remarks = Vec::new();
    if spread.len() > MOST_NAMED {
        spread.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (most, worst) = spread[0];
        remarks.push(format!(
            "in {} of {} rows the times of the repetitions differ by more than {:.0} % of their mean, most in {} ({:.0} %); {why}",
            spread.len(),
            rows.len(),
            100.0 * MOST_SPREAD,
            name(worst),
            100.0 * most
        ));
    } else {
        remarks.extend(spread.iter().map(|(spread, row)| {
            let percent = 100.0 * spread;
            format!(
                "{}: the times of the repetitions differ by {percent:.0} % of their mean; {why}",
                name(row)
            )
        }));
    }
    let wrong = rows.iter().filter(|row| row.as_kernel().is_some_and(|kernel| kernel.check != "ok"));
    remarks.extend(wrong.map(|row| {
        let check = row.as_kernel().map_or("", |kernel| &kernel.check);
        format!("{}: the result is wrong: {check}", name(row))
    }));
    remarks
}

/// A table as Markdown, its columns filled up, so that it can be read as it is.
pub fn markdown_of(table: &Table) -> String {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let cells: Table = table.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let width = |column: usize| {
        cells
            .iter()
            .filter_map(|row| row.get(column))
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(0)
            .max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    // Numbers go to the right, but for those that name something.
    let is_number = |column: usize| {
        let mut body = cells.iter().skip(1).filter_map(|row| row.get(column)).peekable();
        body.peek().is_some()
            && body.all(|text| text == "-" || text.starts_with(|c: char| c.is_ascii_digit()))
    };
    let numbers: Vec<bool> = (0..columns).map(is_number).collect();
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for ((cell, width), number) in row.iter().zip(&widths).zip(&numbers) {
            let space = " ".repeat(width - cell.chars().count());
            text.push_str(&if *number { format!("| {space}{cell} ") } else { format!("| {cell}{space} ") });
        }
        text.push_str("|\n");
        if index == 0 {
            for (width, number) in widths.iter().zip(&numbers) {
                let dashes = "-".repeat(width - 1);
                text.push_str(&if *number { format!("| {dashes}: ") } else { format!("| {dashes}- ") });
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The rows as CSV (RFC 4180), a head for each kind of rows; a list within a cell is separated by spaces.
pub fn csv(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut head: Vec<String> = Vec::new();
    for row in rows {
        let values = row.values();
        let names: Vec<String> = values.keys().cloned().collect();
        if names != head {
            line(&mut text, names.iter().map(String::as_str));
            head = names;
        }
        let cells: Vec<String> = values.values().map(plain).collect();
        line(&mut text, cells.iter().map(String::as_str));
    }
    text
}

fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    let quoted = cells.map(|cell| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    });
    text.push_str(&quoted.collect::<Vec<_>>().join(","));
    text.push('\n');
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The rows as one JSON array, a row a line.
pub fn json(rows: &[Row]) -> String {
    format!("[\n{}\n]\n", lines(rows).join(",\n"))
}

/// The rows as JSON, one a line.
pub fn jsonl(rows: &[Row]) -> String {
    lines(rows).iter().map(|line| format!("{line}\n")).collect()
}

fn lines(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| Value::Object(row.values()).to_string()).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Bytes as llama-bench writes a model's size.
fn size(bytes: u64) -> String {
    if bytes >= 1 << 30 {
        format!("{:.2} GiB", mib(bytes) / 1024.0)
    } else {
        format!("{:.2} MiB", mib(bytes))
    }
}

/// Mean and deviation as llama-bench writes them.
pub(super) fn plus_minus(mean: f64, deviation: f64) -> String {
    format!("{mean:.2} \u{b1} {deviation:.2}")
}

pub(super) fn optional(number: Option<f64>, digits: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.digits$}"))
}
