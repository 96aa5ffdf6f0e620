//! The flags of `killick eval`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

use super::{GpuArgs, ModelArgs, PolicyArgs, spelled};
use crate::cli::eval::PolicyChoice;
use crate::eval::FactKind;

#[derive(ClapArgs, Debug)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    pub(crate) what: Eval,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Eval {
    /// The loss on held-out text, and what the cache holds for it.
    Perplexity(PerplexityArgs),
    /// Accuracy on multiple-choice items, by the likelihood of the choices.
    Choices(ChoicesArgs),
    /// A fact stated n sentences ago, asked for now.
    Recall(RecallArgs),
}

#[derive(ClapArgs, Debug)]
pub(crate) struct PerplexityArgs {
    /// A file that holds the text; `-` reads standard input.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Tokens of a window, anchors that a policy puts in counted. Default: the trained context, 1024 at most.
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
    /// Tokens that each window has of its own; the rest repeats the end of the one before and is not counted again. Default: all.
    #[arg(long, value_name = "N")]
    pub(crate) stride: Option<usize>,
    /// Read only the first N windows.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// Live entries to set the bounds of each policy for, beside measuring the policies as they are.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) budgets: Vec<u32>,
    /// Draw loss against live entries into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct ChoicesArgs {
    /// A file of items, one JSON object a line: `{"query": "...", "choices": ["...", "..."], "gold": 0}`; `-` reads standard input.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Demonstrations in front of every item, drawn by `--seed`.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) shots: usize,
    /// A file of items to draw demonstrations from. Default: the items themselves; those drawn are not asked.
    #[arg(long, value_name = "FILE")]
    pub(crate) shots_from: Option<PathBuf>,
    /// Ask only the first N items.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) limit: Option<usize>,
    /// Seed of the draw.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Between a query and its choice; `\n` stands for a line break.
    #[arg(long, value_name = "TEXT", default_value = " ", value_parser = spelled)]
    pub(crate) delimiter: String,
    /// Between demonstrations; `\n` stands for a line break.
    #[arg(long, value_name = "TEXT", default_value = r"\n\n", value_parser = spelled)]
    pub(crate) separator: String,
    /// Items, the first ones, to time without a cache, for T.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) time_uncached: usize,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct RecallArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The distances n: the fact is the n-th sentence before the question.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,2,4,8,16,32")]
    pub(crate) distances: Vec<usize>,
    /// Trials at each distance; the same facts at each.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) trials: usize,
    /// Wrong answers beside the right one.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) distractors: usize,
    /// Sentences before the fact, so that it is not among pinned tokens.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) lead: usize,
    /// Facts about names, numbers, or both in turn.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Facts::Both)]
    pub(crate) facts: Facts,
    /// Take the sentences between from this text instead of built-in ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) filler: Option<PathBuf>,
    /// Seed of the trials.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Draw accuracy against n into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) gpu: GpuArgs,
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
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Facts {
    /// First names.
    Names,
    /// Numbers of two digits.
    Numbers,
    /// Both in turn.
    Both,
}

impl Facts {
    pub(crate) fn kinds(self) -> Vec<FactKind> {
        match self {
            Self::Names => vec![FactKind::Name],
            Self::Numbers => vec![FactKind::Number],
            Self::Both => vec![FactKind::Name, FactKind::Number],
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "it must be a number from 1 on".to_owned())
}
