//! A report as one page: tables and plots, nothing loaded from elsewhere and no script.
//!
//! Colours follow the reader's light or dark setting; a table wider than a phone scrolls by itself. Every text of unknown origin is escaped,
//! and the page forbids itself scripts as well.

use super::compare::{Report, machines, side_by_side};
use super::schema::{Row, TestRow};
use super::table::{Table, remarks, tables};
use crate::eval::{Chart, Line};

const STYLE: &str = ":root{color-scheme:light dark}\
    body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;padding:1rem;max-width:76rem}\
    h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}\
    .wide{overflow-x:auto}table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}\
    th,td{padding:.3rem .6rem;border-bottom:1px solid #8884;text-align:left;white-space:nowrap}\
    td.n,th.n{text-align:right}\
    figure{margin:1rem 0;background:#fff;border-radius:.5rem;padding:.5rem}figure svg{display:block;width:100%;height:auto;max-width:56rem}\
    li{margin:.3rem 0}";

/// The page of one report, or of several side by side.
pub fn page(title: &str, reports: &[Report]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        escaped(title)
    );
    section(&mut html, if reports.len() > 1 { "Machines" } else { "Machine" }, &machines(reports));
    if reports.len() > 1 {
        for table in side_by_side(reports) {
            section(&mut html, "Side by side", &table);
        }
    }
    for chart in charts(reports) {
        // The SVG escapes its texts itself.
        html.push_str(&format!("<figure>{}</figure>\n", chart.svg()));
    }
    for report in reports {
        for table in tables(&report.rows) {
            section(&mut html, &report.name, &table);
        }
        let remarks = remarks(&report.rows);
        if !remarks.is_empty() {
            let items: String =
                remarks.iter().map(|remark| format!("<li>{}</li>\n", escaped(remark))).collect();
            html.push_str(&format!("<ul>\n{items}</ul>\n"));
        }
    }
    html.push_str(
        "<p>Times are those of the clock on the wall; percentages are of what a reading and a multiplying kernel have \
         reached on the same device. Fields and formulas: docs/bench.md of Killick.</p>\n</body>\n</html>\n",
    );
    html
}

fn section(html: &mut String, title: &str, table: &Table) {
    html.push_str(&format!("<h2>{}</h2>\n<div class=\"wide\"><table>\n", escaped(title)));
    let is_number = |text: &String| text == "-" || text.starts_with(|c: char| c.is_ascii_digit());
    let columns = table.first().map_or(0, Vec::len);
    let numbers: Vec<bool> = (0..columns)
        .map(|column| table.iter().skip(1).filter_map(|row| row.get(column)).all(is_number))
        .collect();
    for (index, row) in table.iter().enumerate() {
        let tag = if index == 0 { "th" } else { "td" };
        html.push_str("<tr>");
        for (cell, number) in row.iter().zip(&numbers) {
            let class = if *number { " class=\"n\"" } else { "" };
            html.push_str(&format!("<{tag}{class}>{}</{tag}>", escaped(cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
}

/// Speed and memory against depth, where there is more than one depth; a line for each policy and report.
fn charts(reports: &[Report]) -> Vec<Chart> {
    type Figure = fn(&TestRow) -> f64;
    let figures: [(&str, &str, Figure); 2] = [
        ("Speed against depth", "generated tokens a second", |row| row.avg_ts),
        ("Memory against depth", "keys and values, MiB", |row| row.kv_bytes as f64 / f64::from(1 << 20)),
    ];
    let chart = |(title, y, figure): (&str, &str, Figure)| {
        let mut lines: Vec<Line> = Vec::new();
        for report in reports {
            let rows = report.rows.iter().filter_map(Row::as_test);
            for row in rows.filter(|row| row.n_prompt == 0) {
                let mut name = row.policy.clone();
                if row.batch != 1 {
                    name = format!("{name}, {} texts", row.batch);
                }
                if reports.len() > 1 {
                    name = format!("{}: {name}", report.name);
                }
                // The axis has no place for 0.
                let point = (f64::from(row.n_depth.max(1)), figure(row));
                match lines.iter_mut().find(|line| line.name == name) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line { name, points: vec![point] }),
                }
            }
        }
        let deep = lines.iter().any(|line| line.points.len() > 1);
        let x = "tokens in the cache before".to_owned();
        deep.then(|| Chart {
            title: title.to_owned(),
            x,
            log_x: false,
            y: y.to_owned(),
            from_zero: true,
            lines,
        })
    };
    figures.into_iter().filter_map(chart).collect()
}

/// Text of unknown origin as the content of an element.
fn escaped(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}
