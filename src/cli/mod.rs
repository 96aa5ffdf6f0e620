//! The command line. Text and JSON go to standard output, progress and messages to standard error.

mod args;
mod bench;
mod chat;
mod convert;
mod devices;
mod eval;
mod generate;
mod inspect;
mod interrupt;
mod load;
mod prompt;
mod reading;
mod score;
mod tuning;
mod voice;
mod wording;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::bench::BenchError;
use crate::error::Error;
use crate::eval::EvalError;
use crate::generate::GenerateError;
use crate::gpu::GpuError;
use crate::session::SessionError;
use args::Command;

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    let args = args::parse(std::env::args_os());
    let done = |()| ExitCode::SUCCESS;
    let result = match &args.command {
        Command::Generate(args) => generate::run(args),
        Command::Chat(args) => chat::run(args).map(done),
        Command::Score(args) => score::run(args).map(done),
        Command::Eval(args) => eval::run(args).map(done),
        Command::Bench(args) => bench::run(args),
        Command::Inspect(args) => inspect::run(args).map(done),
        Command::Convert(args) => convert::run(args),
        Command::Devices(args) => devices::run(args).map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "killick: {}", printable(&message(&error)));
            ExitCode::from(exit_code(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if is_device(error) { 3 } else { 1 }
}

/// Whether the device is at fault. An error comes here as the front door's, or as that of the room that a command asked itself.
fn is_device(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(Error::is_device)
        || error.downcast_ref().is_some_and(GpuError::is_device)
        || error.downcast_ref().is_some_and(SessionError::is_device)
        || error.downcast_ref().is_some_and(GenerateError::is_device)
        || error.downcast_ref().is_some_and(EvalError::is_device)
        || error.downcast_ref().is_some_and(BenchError::is_device)
}

/// The error and its causes on one line; a cause that the message already ends with is not said again.
fn message(error: &anyhow::Error) -> String {
    let mut text = wording::in_flags(error).unwrap_or_else(|| error.to_string());
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Text of unknown origin (a file name, a tensor, a model's own words) with its control characters spelled out, so that it
/// cannot steer a terminal.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

/// Streams text of a model to standard output. A terminal gets no control characters but line breaks and tabs.
fn show(text: &str) -> anyhow::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let safe: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        out.write_all(safe.as_bytes())?;
    } else {
        out.write_all(text.as_bytes())?;
    }
    Ok(out.flush()?)
}

/// Prints a value as one line of JSON.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

#[cfg(test)]
mod tests {
    use super::{BenchError, Error, EvalError, GenerateError, GpuError, SessionError, exit_code};

    #[test]
    fn a_lost_device_has_its_exit_code_whichever_room_tells_of_it() {
        let lost = || GpuError::Lost { reason: "unplugged".to_owned() };
        let session = || SessionError::from(lost());
        let told: [anyhow::Error; 6] = [
            lost().into(),
            session().into(),
            GenerateError::from(session()).into(),
            EvalError::from(session()).into(),
            BenchError::from(session()).into(),
            Error::from(GenerateError::from(session())).into(),
        ];
        assert!(told.iter().all(|error| exit_code(error) == 3), "{told:?}");
        assert_eq!(exit_code(&GenerateError::from(SessionError::EmptyPrompt).into()), 1);
    }
}
