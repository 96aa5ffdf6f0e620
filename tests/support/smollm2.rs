//! Where SmolLM2-135M-Instruct lies.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::path::PathBuf;

use super::skip::skip_program;

/// Why a test is skipped where it is missing.
pub const MISSING: &str = "SmolLM2 is not here; run `make model`, or name the file in KILLICK_MODEL";

/// The file: as `KILLICK_MODEL` says, which `scripts/test.sh` sets, else where `make model` puts it. A file that was named must be there.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KILLICK_MODEL").map(PathBuf::from) {
        assert!(named.exists(), "KILLICK_MODEL: {} is missing; run `make model`", named.display());
        return Some(named);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("killick/models/SmolLM2-135M-Instruct.Q4_1.gguf")).filter(|path| path.exists())
}

/// The file, for a program that can do nothing without it.
pub fn needed() -> PathBuf {
    find().unwrap_or_else(|| skip_program(MISSING))
}
