//! What a test was asked and did not do: said aloud, and counted in the summary of `scripts/test.sh`.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::io::Write;

/// Says that `what` was not done, and why: in the file that `KILLICK_SKIPS` names, else on standard error itself, because cargo hides
/// what a passed test prints.
pub fn skipped(what: &str, why: &str) {
    let Some(path) = std::env::var_os("KILLICK_SKIPS") else {
        _ = std::io::stderr().write_all(format!("[skipped] {what}: {why}\n").as_bytes());
        return;
    };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(format!("{what}: {why}\n").as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Whether somebody said, in one of these variables, what there is. Then a test that does not find it fails instead of being skipped.
pub fn promised(variables: &[&str]) -> bool {
    variables.iter().any(|name| std::env::var_os(name).is_some())
}

/// Skips this test program, because what its tests need is missing: it ends here, so none of them is reported as passed. The few in it that
/// need nothing may be cut off; the steps of `scripts/test.sh`, where nothing is missing, run them.
pub fn skip_program(why: &str) -> ! {
    skipped(&format!("all tests of {}", env!("CARGO_CRATE_NAME")), why);
    std::process::exit(0)
}
