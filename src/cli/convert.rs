//! `killick convert`: a model from one form into another.

use std::io::Write;

use super::args::{ConvertArgs, FormArg};
use super::{load, printable};
use crate::convert::{ConvertOptions, Form, convert};
use crate::error::Error;

pub(super) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
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
    let converted = convert(&file, &args.output, &options, &mut progress).map_err(Error::from)?;
    bar.finish_and_clear();
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
    Ok(())
}
