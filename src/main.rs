//! The `killick` program: parse, run, turn an error into a message and an exit code.
//!
//! Exit codes: 0 done (also when the reader of standard output went away), 1 a file, a prompt or a setting is wrong,
//! 2 the command line does not parse, 3 the device was lost, out of memory or not there.

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::Builder::from_env(
        env_logger::Env::default().default_filter_or("warn,wgpu_core=error,wgpu_hal=off,naga=error"),
    )
    .init();
    killick::cli::main()
}
