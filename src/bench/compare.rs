//! Reports of several runs side by side: what was measured in more than one of them, a column each.

use super::schema::{ProfileRow, Row, TestRow};
use super::table::{Table, plus_minus};

/// A report and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Name of its file.
    pub name: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// What is the same of two rows that may stand side by side.
fn key(row: &Row) -> Vec<String> {
    match row {
        Row::Test(row) => {
            let TestRow { model_type, policy, batch, test, .. } = &**row;
            vec![model_type.clone(), policy.clone(), batch.to_string(), test.clone()]
        }
        Row::Kernel(row) => {
            let (op, of) = (row.op.clone(), row.of.clone());
            vec![op, row.implementation.clone(), row.layout.clone(), row.shape.clone(), of]
        }
        Row::Profile(row) => {
            let ProfileRow { model_type, policy, batch, test, implementation, layout, .. } = &**row;
            let names = [model_type, policy, &batch.to_string(), test, implementation, layout];
            names.map(String::clone).to_vec()
        }
    }
}

/// The figure that is compared: tokens a second, or of a kernel GB/s, of which more is better; of a kernel's share us a token, of which
/// less is.
fn figure(row: &Row) -> (f64, String) {
    match row {
        Row::Test(row) => (row.avg_ts, plus_minus(row.avg_ts, row.stddev_ts)),
        Row::Kernel(row) => (row.gb_per_s, format!("{:.2}", row.gb_per_s)),
        Row::Profile(row) => (row.device_ns_per_token, format!("{:.1}", row.device_ns_per_token / 1e3)),
    }
}

/// The reports side by side, tests, kernels and shares of kernels in tables of their own: after the first report each has its figures and
/// what they are of the first's. A row that a report has twice counts once, the last time.
pub fn side_by_side(reports: &[Report]) -> Vec<Table> {
    let mut tables = Vec::new();
    for (head, figure_of, is_kind) in [
        (&["model", "policy", "batch", "test"][..], "t/s", Row::is_test as fn(&Row) -> bool),
        (&["op", "implementation", "layout", "shape", "of"], "GB/s", Row::is_kernel),
        (&["model", "policy", "batch", "test", "implementation", "layout"], "us/tok", |row| {
            row.as_profile().is_some()
        }),
    ] {
        let mut keys: Vec<Vec<String>> = Vec::new();
        for row in reports.iter().flat_map(|report| &report.rows).filter(|row| is_kind(row)) {
            let key = key(row);
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        if keys.is_empty() {
            continue;
        }
        let mut names: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
        for (index, report) in reports.iter().enumerate() {
            names.push(format!("{} {figure_of}", report.name));
            if index > 0 {
                names.push(format!("of {}", reports[0].name));
            }
        }
        let mut table = vec![names];
        for wanted in keys {
            let find = |report: &Report| {
                let same = report.rows.iter().rev().find(|row| is_kind(row) && key(row) == wanted);
                same.map(figure)
            };
            let first = reports.first().and_then(find).map(|(figure, _)| figure);
            let mut line = wanted.clone();
            for (index, report) in reports.iter().enumerate() {
                let found = find(report);
                line.push(found.as_ref().map_or_else(|| "-".to_owned(), |(_, text)| text.clone()));
                if index > 0 {
                    let part = found.zip(first).filter(|(_, first)| *first > 0.0);
                    line.push(part.map_or_else(
                        || "-".to_owned(),
                        |((figure, _), first)| format!("{:.2}x", figure / first),
                    ));
                }
            }
            table.push(line);
        }
        tables.push(table);
    }
    tables
}

/// The machines of the reports: a line for each.
pub fn machines(reports: &[Report]) -> Table {
    let head =
        ["report", "adapter", "backend", "driver", "family", "GB/s", "GFLOP/s", "platform", "build", "time"];
    let mut table: Table = vec![head.iter().map(|name| (*name).to_owned()).collect()];
    for report in reports {
        let Some(machine) = report.rows.first().map(Row::machine) else { continue };
        let giga =
            |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1}", rate / 1e9));
        table.push(vec![
            report.name.clone(),
            machine.gpu_info.clone(),
            machine.backends.clone(),
            machine.driver.clone(),
            machine.family.clone(),
            giga(machine.bandwidth),
            giga(machine.arithmetic),
            machine.platform.clone(),
            format!("{} ({})", machine.build_commit, machine.build_version),
            machine.test_time.clone(),
        ]);
    }
    table
}
