//! `killick bench --compare`: reports of several runs side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::{page, print};
use crate::bench::{self, Report, markdown_of};
use crate::cli::args::Form;
use crate::cli::load;
use crate::error::Error;

pub(super) fn run(files: &[PathBuf], form: Form, to: Option<&Path>) -> anyhow::Result<ExitCode> {
    let reports = files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = match form {
        Form::Md => {
            let tables = [vec![bench::machines(&reports)], bench::side_by_side(&reports)].concat();
            tables.iter().map(markdown_of).collect::<Vec<_>>().join("\n")
        }
        Form::Json | Form::Jsonl | Form::Csv => {
            bail!("--compare writes a table, and with --report a page; --output must be md")
        }
    };
    if let Some(file) = to {
        page(file, &format!("Killick on {} machines", reports.len()), &reports)?;
    }
    // What stands in a file may steer a terminal.
    print(&super::printable_lines(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// A report, called by its file's name without the ending.
fn read(file: &Path) -> anyhow::Result<Report> {
    let text = load::read_text(file)?;
    let rows = bench::rows(&file.display().to_string(), &text).map_err(Error::from)?;
    let name = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    Ok(Report { name, rows })
}
