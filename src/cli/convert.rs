//! `killick convert`: a model from one form into another.

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use super::args::{ConvertArgs, FormArg};
use super::{interrupt, load, printable};
use crate::convert::{ConvertError, ConvertOptions, Form, convert};
use crate::error::Error;

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    let file = load::open_model(args.input.as_deref(), &args.adapters.adapter)?;
    let policy = match args.policy.is_given() {
        true => {
            let tokenizer = load::open_tokenizer(&file)?;
            let (spec, _) = load::policy_spec(&args.policy, &file, tokenizer.as_ref(), None)?;
            let policy = spec.resolve(&file.config).map_err(Error::from)?;
            policy.check_vocab(file.config.vocab_size).map_err(Error::from)?;
            Some(serde_json::to_value(&spec)?)
        }
        false => file.policy().cloned(),
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
    let converted = convert(&file, &args.output, &options, &mut |done, total| {
        progress(done, total);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.finish_and_clear();
    if let Err(stopped @ ConvertError::Cancelled { .. }) = &converted {
        // Ctrl-C may have ended who reads it, too.
        let _ = writeln!(std::io::stderr(), "killick: {}", printable(&stopped.to_string()));
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let converted = converted.map_err(Error::from)?;
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
