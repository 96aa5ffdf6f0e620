//! The flags of `killick bench`. Those that llama-bench has are spelled as there.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, ValueEnum};

use super::{GpuArgs, ModelArgs, PolicyArgs};
use crate::cli::eval::PolicyChoice;

#[derive(ClapArgs, Debug)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Measure a made-up model of this shape instead of a file: a known name, such as tinyllama-1.1b or llama-2-7b, or a config.json.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["model", "adapter"])]
    pub(crate) shape: Option<String>,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
    #[command(flatten)]
    pub(crate) tests: TestArgs,
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    /// Several policies to compare: names, each with fields of its own, such as `full,anchor:window=32:sinks=4,streaming`. The flags
    /// that say which tokens are anchors then go to `anchor`, `--ctx` to `full`.
    #[arg(
        long,
        value_name = "POLICY,POLICY",
        value_delimiter = ',',
        conflicts_with_all = ["policy", "window", "sinks", "pin", "max_anchors", "max_segment", "max_distance", "isolated"],
        help_heading = "Cache policy"
    )]
    pub(crate) policies: Vec<PolicyChoice>,
    /// The form of the report.
    #[arg(short, long, value_enum, value_name = "FORM", default_value_t = Form::Md)]
    pub(crate) output: Form,
    /// Write a page with tables and plots into this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Tests")]
pub(crate) struct TestArgs {
    /// Prompt tokens to time; several give several tests, 0 none. Default: 512.
    #[arg(short = 'p', long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) n_prompt: Vec<u32>,
    /// Generated tokens to time; several give several tests, 0 none. Default: 128, for `--depth-sweep` 32.
    #[arg(short = 'n', long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) n_gen: Vec<u32>,
    /// A prompt and a generation after it, timed together; repeatable. `-pg` is understood as well.
    #[arg(long, value_name = "PP,TG")]
    pub(crate) pg: Vec<Pair>,
    /// Tokens in the cache before; several give several tests. Default: 0, for `--depth-sweep` a row of depths.
    #[arg(short = 'd', long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) n_depth: Vec<u32>,
    /// Texts that go on at the same time; several give several tests. Default: 1.
    #[arg(short = 'b', long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) batch: Vec<u32>,
    /// Repetitions of each test. Default: 5, for `--depth-sweep` 3.
    #[arg(short = 'r', long, value_name = "N")]
    pub(crate) repetitions: Option<u32>,
    /// Leave out the run before the repetitions, which does not count.
    #[arg(long)]
    pub(crate) no_warmup: bool,
    /// Tokens of a segment in the synthetic text, under a policy that has anchors.
    #[arg(long, value_name = "N", default_value_t = 24)]
    pub(crate) segment: u32,
    /// Seed of the synthetic text.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Other measurements")]
pub(crate) struct WhatArgs {
    /// Measure kernels instead of a model: every implementation of every op at the shapes of real models, each checked against its
    /// CPU twin.
    #[arg(long, conflicts_with_all = ["depth_sweep", "model"])]
    pub(crate) kernels: bool,
    /// Only kernels whose op, implementation, layout, shape or model has this text in it; repeatable, all must.
    #[arg(long, value_name = "TEXT", requires = "kernels")]
    pub(crate) filter: Vec<String>,
    /// Also say what a token is made of: the time that each kernel takes, by the device's clock, in a run of its own.
    #[arg(long, conflicts_with = "kernels")]
    pub(crate) profile: bool,
    /// Generate at growing depths under every policy that the model can have: speed and memory against depth.
    #[arg(long)]
    pub(crate) depth_sweep: bool,
    /// Put the reports of several runs side by side, such as those of two machines; nothing is measured.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["kernels", "profile", "depth_sweep", "shape", "model"])]
    pub(crate) compare: Vec<PathBuf>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A table.
    Md,
    /// Every field, for a spreadsheet.
    Csv,
    /// Every field, as one array.
    Json,
    /// Every field, a row a line, each as soon as it is measured.
    Jsonl,
}

/// Prompt tokens and generated tokens of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) prompt: u32,
    pub(crate) generate: u32,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once(',')
            .and_then(|(prompt, generate)| Some((prompt.parse().ok()?, generate.parse().ok()?)));
        let Some((prompt, generate)) = parsed.filter(|(prompt, generate)| *prompt > 0 && *generate > 0)
        else {
            return Err("it must be two numbers from 1 on, such as 512,128".to_owned());
        };
        Ok(Self { prompt, generate })
    }
}
