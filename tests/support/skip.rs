//! What a test was asked and did not do: said aloud, and counted in the summary of `scripts/test.sh`.

#![allow(
    clippy::print_stdout,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::io::Write;

/// Says that `what` was not done, and why. cargo hides what a passed test prints, so it also goes into the file that `KILLICK_SKIPS` names.
pub fn skipped(what: &str, why: &str) {
    println!("[skipped] {what}: {why}");
    let Some(path) = std::env::var_os("KILLICK_SKIPS") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{what}: {why}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
