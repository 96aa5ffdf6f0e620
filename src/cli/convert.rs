//! `killick convert`: a model from one form into another.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use super::args::{ConvertArgs, FormArg};
use super::{interrupt, load, printable};
use crate::convert::{ConvertError, ConvertOptions, Form, convert};
use crate::error::Error;
use crate::policy_options::PolicyOptions;

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let model = load::open_path(args.input.as_deref(), &args.adapters.adapter)?;
    let asked = args.policy.options()?;
    let policy = match asked == PolicyOptions::default() {
        true => model.file.policy().cloned(),
        false => Some(serde_json::to_value(load::choose_policy(&model, &asked)?.spec)?),
    };
    let name = args.output.to_string_lossy();
    let form = match args.format {
        Some(FormArg::Gguf) => Form::Gguf,
        Some(FormArg::Safetensors) => Form::Safetensors,
        None if name.ends_with(".gguf") => Form::Gguf,
        None if name.ends_with(".safetensors") => {
            anyhow::bail!(
                "{name}: a model in safetensors is a folder; name one without an ending, or --format"
            )
        }
        None => Form::Safetensors,
    };
    let options = ConvertOptions { form, encoding: args.to.into(), policy, force: args.force };
    let (bar, mut progress) = load::progress_bar("writing");
    let _busy = interrupt::busy();
    let converted = convert(&model.file, &args.output, &options, &mut |done, total| {
        progress(done, total);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    let converted = match converted {
        Err(stopped @ ConvertError::Cancelled { .. }) => {
            // Ctrl-C may have ended who reads it, too.
            let _ = writeln!(std::io::stderr(), "killick: {}", printable(&stopped.to_string()));
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        Err(exists @ ConvertError::Exists { .. }) => anyhow::bail!("{exists}; --force replaces it"),
        converted => converted.map_err(Error::from)?,
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}: {} tensors, {:.1} MiB{}",
        printable(&name),
        converted.tensors,
        converted.bytes as f64 / f64::from(1 << 20),
        match converted.unquantised {
            0 => String::new(),
            count => format!("; {count} of them in f16, for their rows are not whole blocks"),
        }
    )?;
    Ok(ExitCode::SUCCESS)
}
