//! The flags that say what is remembered.

use anyhow::bail;
use clap::{Args as ClapArgs, ValueEnum};

use super::spelled;
use crate::kernels::KvFormat;
use crate::kv::{AtMaxSegment, Place, Preset};
use crate::policy_options::{Insertion, PolicyOptions, Sinks};
use crate::session::SessionOptions;
use crate::tokenizer::TemplateArguments;

#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Cache policy")]
pub(crate) struct PolicyArgs {
    /// full, anchor, sepllm, streaming or window. Default: the one recorded with the model, else full (sepllm if
    /// another flag bounds the memory).
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<Preset>,
    /// An anchor (for sepllm: a separator) by the exact text of the token, such as "." or " ."; `\n` stands for a line break; repeatable.
    #[arg(long, value_name = "STRING", value_parser = spelled)]
    pub(crate) anchors: Vec<String>,
    /// Anchors by token id.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) anchor_ids: Vec<u32>,
    /// W: tokens that are always visible, the query itself counted.
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u32>,
    /// S: tokens at the beginning of the text that stay visible.
    #[arg(long, value_name = "N")]
    pub(crate) sinks: Option<u32>,
    /// Keep a part of the prompt visible for ever: `system`, the system prompt (with `chat` and `generate --chat`).
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "sinks")]
    pub(crate) pin: Option<Pin>,
    /// A: anchors kept at most, the newest.
    #[arg(long, value_name = "N")]
    pub(crate) max_anchors: Option<u32>,
    /// M: a segment that reaches this length is closed by force.
    #[arg(long, value_name = "N")]
    pub(crate) max_segment: Option<u32>,
    /// D: anchors this far back are no longer visible.
    #[arg(long, value_name = "N")]
    pub(crate) max_distance: Option<u32>,
    /// What happens to a segment at M: `close` it by force, end the text with an `error`, or `insert` the anchor that prompts get.
    /// Default: `insert` where prompts get one, else `close`.
    #[arg(long, value_enum, value_name = "ACTION")]
    pub(crate) at_max_segment: Option<AtMaxSegmentArg>,
    /// A token right after a digit is no anchor, so that "3.14" stays in one segment.
    #[arg(long)]
    pub(crate) anchor_not_after_digit: bool,
    /// Whether an anchor is hidden from later anchors.
    #[arg(long, value_name = "BOOL")]
    pub(crate) isolated: Option<bool>,
    /// Put the anchor between the sentences of a prompt, or after each, for a model that was trained so (AnLLM-AC). The policy must
    /// have exactly one anchor id. Default: as recorded with the model, else none.
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(crate) insert: Option<InsertArg>,
    /// How keys and values are kept.
    #[arg(long, value_enum, default_value_t = KvArg::F32)]
    pub(crate) kv: KvArg,
    /// Planned capacity of `full`, in tokens. Default: the context the model was trained for.
    #[arg(long, value_name = "N")]
    pub(crate) ctx: Option<u32>,
}

impl PolicyArgs {
    /// How sessions are laid out.
    pub(crate) fn session(&self) -> SessionOptions {
        SessionOptions { kv: self.kv.into(), ..SessionOptions::default() }
    }

    /// What the flags ask for, where there is no conversation.
    pub(crate) fn options(&self) -> anyhow::Result<PolicyOptions> {
        if self.pin.is_some() {
            bail!(
                "--pin system needs chat, or generate --chat: without a chat template there is no system prompt"
            );
        }
        Ok(self.chat_options(None, TemplateArguments::default()))
    }

    /// What the flags ask for, in a conversation with this system prompt and these words for the template.
    pub(crate) fn chat_options(&self, system: Option<&str>, template: TemplateArguments) -> PolicyOptions {
        let pinned = self.pin.map(|Pin::System| Sinks::SystemPrompt(system.map(str::to_owned)));
        PolicyOptions {
            preset: self.policy,
            anchors: self.anchors.clone(),
            anchor_ids: self.anchor_ids.clone(),
            window: self.window,
            sinks: self.sinks.map(Sinks::Tokens).or(pinned),
            max_anchors: self.max_anchors,
            max_segment: self.max_segment,
            at_max_segment: self.at_max_segment.map(AtMaxSegment::from),
            max_distance: self.max_distance,
            isolated: self.isolated,
            anchor_not_after_digit: self.anchor_not_after_digit,
            insert: self.insert.map(Insertion::from),
            ctx: self.ctx,
            template,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KvArg {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, half the memory of a text; arithmetic stays 32-bit.
    F16,
    /// Signed bytes under a 32-bit scale for each head of an entry, little more than a quarter of the memory; arithmetic stays 32-bit.
    #[value(name = "q8_0")]
    Q8,
}

impl From<KvArg> for KvFormat {
    fn from(format: KvArg) -> Self {
        match format {
            KvArg::F32 => Self::F32,
            KvArg::F16 => Self::F16,
            KvArg::Q8 => Self::Q8_0,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtMaxSegmentArg {
    /// Close the segment with the token that stands there.
    Close,
    /// Refuse a prompt, end a text.
    Error,
    /// Put the inserted anchor there.
    Insert,
}

impl From<AtMaxSegmentArg> for AtMaxSegment {
    fn from(action: AtMaxSegmentArg) -> Self {
        match action {
            AtMaxSegmentArg::Close => Self::Close,
            AtMaxSegmentArg::Error => Self::Error,
            AtMaxSegmentArg::Insert => Self::Insert,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InsertArg {
    /// Between two sentences.
    Between,
    /// After every sentence.
    After,
    /// Nowhere.
    Off,
}

impl From<InsertArg> for Insertion {
    fn from(place: InsertArg) -> Self {
        match place {
            InsertArg::Between => Self::At(Place::Between),
            InsertArg::After => Self::At(Place::After),
            InsertArg::Off => Self::Off,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pin {
    /// The system prompt.
    System,
}
