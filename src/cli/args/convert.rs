//! The flags of `killick convert`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use super::{AdapterArgs, PolicyArgs};
use crate::model_file::Encoding;

#[derive(ClapArgs, Debug)]
#[command(allow_missing_positional = true)]
pub(crate) struct ConvertArgs {
    /// A GGUF or safetensors file, or a folder with config.json, tokenizer.json and weights.
    #[arg(value_name = "INPUT", required_unless_present = "embedded", conflicts_with = "embedded")]
    pub(crate) input: Option<PathBuf>,
    /// The file (`.gguf`) or folder to make.
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: PathBuf,
    /// Convert the small anchor model that is a part of this program; there is no INPUT then.
    #[arg(long)]
    pub(crate) embedded: bool,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value_t = ToArg::F16)]
    pub(crate) to: ToArg,
    /// The form of the output. Default: gguf if its name ends so, else safetensors.
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) format: Option<FormArg>,
    #[command(flatten)]
    pub(crate) adapters: AdapterArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Replace an output that exists.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormArg {
    /// A folder with model.safetensors, config.json and the tokenizer.
    Safetensors,
    /// One GGUF file.
    Gguf,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToArg {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
    /// Bytes in blocks of 32; GGUF only.
    #[value(name = "q8_0")]
    Q8_0,
    /// Nibbles in blocks of 32; GGUF only.
    #[value(name = "q4_0")]
    Q4_0,
}

impl From<ToArg> for Encoding {
    fn from(to: ToArg) -> Self {
        match to {
            ToArg::F32 => Self::F32,
            ToArg::F16 => Self::F16,
            ToArg::Bf16 => Self::BF16,
            ToArg::Q8_0 => Self::Q8_0,
            ToArg::Q4_0 => Self::Q4_0,
        }
    }
}
