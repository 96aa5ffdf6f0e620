//! The command line. Text and JSON go to standard output, progress and messages to standard error.

mod args;
mod devices;
mod generate;
mod inspect;
mod load;
mod score;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::Error;
use crate::gpu::GpuError;
use args::{Args, Command};

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.command {
        Command::Generate(args) => generate::run(args),
        Command::Score(args) => score::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Devices(args) => devices::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "killick: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let device = error.downcast_ref::<Error>().is_some_and(Error::is_device);
    let no_device = error.downcast_ref::<GpuError>().is_some();
    if device || no_device { 3 } else { 1 }
}

/// Prints a value as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}
