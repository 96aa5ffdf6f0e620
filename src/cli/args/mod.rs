//! The command line as data. `docs/cli.md` explains every flag; a test holds the two together.

mod bench;
mod convert;
mod device;
mod eval;
mod policy;
mod template;

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::generate::{GenerateOptions, Steps};
use crate::kernels::WeightFormat;
use crate::sampling::SamplerOptions;
use crate::score::Path;

pub(crate) use bench::{BenchArgs, Form, TestArgs};
pub(crate) use convert::{ConvertArgs, FormArg};
pub(crate) use device::{DevicesArgs, F16Arg, FamilyArg, GpuArgs, TuneArg};
pub(crate) use eval::{ChoicesArgs, CommonArgs, Eval, EvalArgs, PerplexityArgs, RecallArgs};
pub(crate) use policy::PolicyArgs;
pub(crate) use template::TemplateArgs;

/// A portable GPU engine for language models that remember through anchors.
#[derive(Parser, Debug)]
#[command(name = "killick", version, about, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to get a first chat model; the README and docs/cli.md say the same.
pub(crate) const A_CHAT_MODEL: &str = "A chat needs a chat model, a GGUF or a folder as model hubs have them, named with --model. A small one is \
    SmolLM2-135M-Instruct (https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct), which make run in a clone of Killick downloads.";

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Continue a prompt.
    Generate(GenerateArgs),
    /// Talk with a model, turn by turn.
    #[command(after_help = A_CHAT_MODEL)]
    Chat(ChatArgs),
    /// Say how likely a text is, token by token.
    Score(ScoreArgs),
    /// Measure a model under one cache policy or several.
    Eval(EvalArgs),
    /// Time a model, or its kernels, and report it in llama-bench's terms.
    Bench(BenchArgs),
    /// Describe a model and what it would take in memory, without loading it.
    Inspect(InspectArgs),
    /// Write a model in another form: GGUF or a safetensors folder, rounded or quantised, adapters merged.
    Convert(ConvertArgs),
    /// List the GPUs of this machine.
    Devices(DevicesArgs),
}

/// The arguments of the program; it ends with a message where they are wrong, or with the help that was asked for.
///
/// A negative number is a value: where none may be negative, the message names the range, not a flag "-1" that there is none of.
pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Args {
    let mut command = negative_numbers(Args::command());
    let found =
        command.try_get_matches_from_mut(spelled_out(args)).and_then(|found| Args::from_arg_matches(&found));
    found.unwrap_or_else(|error| error.format(&mut command).exit())
}

fn negative_numbers(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        clap::ArgAction::Set | clap::ArgAction::Append => arg.allow_negative_numbers(true),
        _ => arg,
    });
    command.mut_subcommands(negative_numbers)
}

/// The arguments with llama-bench's `-pg`, a short flag of two letters, as the long one that it is here.
fn spelled_out(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    if args.get(1).is_some_and(|command| command == "bench") {
        for arg in &mut args {
            match arg.to_str() {
                Some("-pg") => *arg = "--pg".into(),
                Some(text) if text.starts_with("-pg=") => *arg = format!("-{text}").into(),
                _ => {}
            }
        }
    }
    args
}

#[derive(ClapArgs, Debug)]
pub(crate) struct GenerateArgs {
    /// The text to continue; `-` or none reads standard input. With a text, what is piped in is put before it.
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Put the prompt through the model's chat template, as the user's turn.
    #[arg(long)]
    pub(crate) chat: bool,
    /// System prompt for `--chat`.
    #[arg(long, requires = "chat", value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    #[command(flatten)]
    pub(crate) sampler: SamplerArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// Hold the text to the JSON that the JSON Schema in this file describes; it is made one step at a time then.
    #[arg(long, value_name = "FILE", conflicts_with = "json_object")]
    pub(crate) json_schema: Option<PathBuf>,
    /// Hold the text to a JSON object, of any content.
    #[arg(long)]
    pub(crate) json_object: bool,
    /// Report the log-probability of each token and of the N likeliest.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "json")]
    pub(crate) logprobs: u32,
    /// Most tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_tokens: u32,
    /// Print statistics to standard error at the end.
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print one JSON object instead of streaming text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) sampler: SamplerArgs,
    #[command(flatten)]
    pub(crate) stop: StopArgs,
    /// System prompt.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Most tokens of one answer.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) max_tokens: u32,
}

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplerArgs {
    /// 0 always takes the likeliest token. Default of all of these: what the model's files recommend, else as said here: 0, for `chat` 0.7.
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Keep the N likeliest tokens; 0, the default, keeps all.
    #[arg(long, value_name = "N")]
    pub(crate) top_k: Option<u32>,
    /// Keep the likeliest tokens that together have this probability. Default: 1 (all), for `chat` 0.95.
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Keep tokens at least this share as likely as the likeliest. Default: 0 (all).
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// Divides the positive scores of recent tokens, multiplies the negative ones. Default: 1 (off).
    #[arg(long, value_name = "R")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Taken from a recent token's score for each time it occurred.
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// Taken from a recent token's score once.
    #[arg(long, value_name = "F", default_value_t = 0.0, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// How many recent tokens the penalties look at, the prompt's included. What structures a text (anchors,
    /// ends, special tokens) is never penalized. Default: 64.
    #[arg(long, value_name = "N")]
    pub(crate) penalty_last_n: Option<u32>,
    /// Added to the score of a token, in nats; repeatable.
    #[arg(long, value_name = "ID=NATS", value_parser = parse_bias)]
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Tokens that are never drawn.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) ban: Vec<u32>,
    /// Seed of the draws: the same seed, the same text; `random` takes another each time. Default: 0, for `chat` random.
    #[arg(long, value_name = "N|random", value_parser = parse_seed)]
    pub(crate) seed: Option<Seed>,
}

/// Where the draws begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    Number(u64),
    Random,
}

impl Seed {
    /// The number.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Number(seed) => seed,
            // The keys of a hash map are random for each process and each map; 53 bits can be written in any JSON.
            Self::Random => std::hash::RandomState::new().build_hasher().finish() >> 11,
        }
    }
}

/// The text of a flag, in which `\n`, `\r` and `\t` stand for what they stand for everywhere.
fn spelled(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.replace(r"\n", "\n").replace(r"\r", "\r").replace(r"\t", "\t"))
}

fn parse_seed(text: &str) -> Result<Seed, String> {
    match text {
        "random" => Ok(Seed::Random),
        _ => text
            .parse()
            .map(Seed::Number)
            .map_err(|_| format!("it must be random or a number from 0 to {}", u64::MAX)),
    }
}

impl SamplerArgs {
    /// The options, as in `base` where the flags are not given.
    pub(crate) fn options(&self, base: SamplerOptions, seed: Seed) -> SamplerOptions {
        SamplerOptions {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            penalty_last_n: self.penalty_last_n.unwrap_or(base.penalty_last_n),
            logit_bias: self.logit_bias.clone(),
            banned: self.ban.clone(),
            seed: self.seed.unwrap_or(seed).number(),
            ..base
        }
    }
}

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Stopping and stepping")]
pub(crate) struct StopArgs {
    /// A text that ends the answer and is not shown; `\n` stands for a line break; repeatable.
    #[arg(long, value_name = "TEXT", value_parser = spelled)]
    pub(crate) stop: Vec<String>,
    /// Go on after an end-of-text token.
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Decode steps that the device makes per submit: `auto`, a number, or `host` for one at a time with the draw on the host.
    #[arg(long, value_name = "STEPS", default_value = "auto", value_parser = parse_steps)]
    pub(crate) steps: Steps,
}

impl StopArgs {
    /// How to generate at most `max_tokens`; the stop strings go their own way.
    pub(crate) fn options(&self, max_tokens: u32, sampler: SamplerOptions) -> GenerateOptions {
        GenerateOptions {
            max_tokens,
            ignore_eos: self.ignore_eos,
            sampler,
            steps: self.steps,
            ..GenerateOptions::default()
        }
    }
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let parsed = text.split_once('=').and_then(|(id, nats)| Some((id.parse().ok()?, nats.parse().ok()?)));
    parsed.ok_or_else(|| "it must be a token id, an equals sign and a number, such as 42=-1.5".to_owned())
}

fn parse_steps(text: &str) -> Result<Steps, String> {
    match text {
        "auto" => Ok(Steps::Auto),
        "host" => Ok(Steps::OnHost),
        _ => text
            .parse()
            .ok()
            .filter(|steps| *steps > 0)
            .map(Steps::Fixed)
            .ok_or_else(|| "it must be auto, host or a number from 1 on".to_owned()),
    }
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) input: ScoreInput,
    /// `masked` (brute force), `ring` (token by token) or `chunk:N`.
    #[arg(long, value_name = "PATH", default_value = "chunk:128")]
    pub(crate) path: Path,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct ScoreInput {
    /// The text.
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// A file that holds the text; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Token ids, taken as they are.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) ids: Option<Vec<u32>>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Plan for a device whose bindings hold at most this many bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 20)]
    pub(crate) max_binding: u64,
    /// Plan for the kernels made for this kind of device.
    #[arg(long, default_value = "gpu")]
    pub(crate) family: FamilyArg,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ModelArgs {
    /// A GGUF (of a split one any part) or safetensors file, a folder with config.json, tokenizer.json and weights, or a model's
    /// folder in the Hugging Face cache. Default: the small anchor model that is a part of this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) adapters: AdapterArgs,
    /// How weights are kept on the device.
    #[arg(long, value_enum, default_value_t = DtypeArg::File)]
    pub(crate) dtype: DtypeArg,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct AdapterArgs {
    /// A LoRA adapter, PEFT's folder or a GGUF, to merge into the weights, times SCALE; repeatable.
    #[arg(long, value_name = "PATH[=SCALE]", value_parser = parse_adapter)]
    pub(crate) adapter: Vec<AdapterArg>,
}

/// An adapter and its scale.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterArg {
    pub(crate) folder: PathBuf,
    pub(crate) scale: f32,
}

/// The scale is what follows the last equals sign, if that is a number; else the whole is the folder.
fn parse_adapter(text: &str) -> Result<AdapterArg, String> {
    let (folder, scale) = match text.rsplit_once('=').map(|(folder, scale)| (folder, scale.parse::<f32>())) {
        Some((folder, Ok(scale))) => (folder, scale),
        _ => (text, 1.0),
    };
    if !scale.is_finite() {
        return Err("the scale must be a finite number".to_owned());
    }
    Ok(AdapterArg { folder: folder.into(), scale })
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DtypeArg {
    /// As the file keeps them: its blocks of 4 to 8 bits stay blocks, all else becomes f16.
    File,
    /// 32-bit floats.
    F32,
    /// 16-bit floats; arithmetic stays 32-bit.
    F16,
    /// Signed bytes under a scale for every 32 columns, half the memory of f16.
    #[value(name = "q8_0")]
    Q8_0,
    /// Four bits under a scale for every 32 columns, a third of the memory of f16.
    #[value(name = "q4_0")]
    Q4_0,
}

impl From<DtypeArg> for WeightFormat {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::File => Self::File,
            DtypeArg::F32 => Self::F32,
            DtypeArg::F16 => Self::F16,
            DtypeArg::Q8_0 => Self::Q8_0,
            DtypeArg::Q4_0 => Self::Q4_0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_number_or_another_each_time() {
        assert_eq!((parse_seed("7"), parse_seed("random")), (Ok(Seed::Number(7)), Ok(Seed::Random)));
        for wrong in ["-1", "", "x", "1.5", "18446744073709551616"] {
            assert!(parse_seed(wrong).is_err_and(|says| says.contains("random or a number")), "{wrong}");
        }
        assert_ne!(Seed::Random.number(), Seed::Random.number());
        assert_eq!(Seed::Number(7).number(), 7);
    }

    #[test]
    fn a_negative_number_is_a_value_and_refused_with_the_range() {
        let parsed = |flag: &str| {
            let args = ["killick", "generate", "The Lord is", flag, "-1"];
            negative_numbers(Args::command()).try_get_matches_from(args)
        };
        for flag in ["--max-tokens", "--penalty-last-n", "--seed", "--top-k", "--window"] {
            let error = parsed(flag).expect_err(flag);
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation, "{error}");
            assert!(error.to_string().contains("'-1'"), "{error}");
        }
        assert!(parsed("--frequency-penalty").is_ok() && parsed("--temperature").is_ok());
    }
}
