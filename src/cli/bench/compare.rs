//! `killick bench --compare`: reports of several runs side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::args::Form;

pub(super) fn run(_files: &[PathBuf], _form: Form, _page: Option<&Path>) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
