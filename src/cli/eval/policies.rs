//! The policies that a measurement compares.

use std::str::FromStr;

use crate::cli::args::PolicyArgs;
use crate::cli::load;
use crate::kv::{Policy, Preset};
use crate::model_file::ModelFile;
use crate::tokenizer::Tokenizer;

/// One entry of `--policies`: a preset, and fields that differ from its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyChoice {
    text: String,
    preset: Preset,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Window(u32),
    Sinks(u32),
    MaxAnchors(u32),
    MaxSegment(u32),
    MaxDistance(u32),
    Isolated(bool),
}

impl FromStr for PolicyChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(':');
        let preset = parts
            .next()
            .unwrap_or_default()
            .parse()
            .map_err(|error: crate::kv::KvError| error.to_string())?;
        let fields = parts.map(field).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), preset, fields })
    }
}

fn field(text: &str) -> Result<Field, String> {
    let wrong = || {
        format!(
            "{text:?} must be a field and its value: window=N, sinks=N, max-anchors=N, max-segment=N, max-distance=N or \
             isolated=BOOL"
        )
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let number = || value.parse().map_err(|_| wrong());
    Ok(match name {
        "window" => Field::Window(number()?),
        "sinks" => Field::Sinks(number()?),
        "max-anchors" => Field::MaxAnchors(number()?),
        "max-segment" => Field::MaxSegment(number()?),
        "max-distance" => Field::MaxDistance(number()?),
        "isolated" => Field::Isolated(value.parse().map_err(|_| wrong())?),
        _ => return Err(wrong()),
    })
}

/// A policy and what it is called in tables.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) policy: Policy,
}

/// The policies of `--policies`, or without it the one that the other flags ask for.
pub(super) fn policies(
    choices: &[PolicyChoice],
    flags: &PolicyArgs,
    file: &ModelFile,
    tokenizer: &Tokenizer,
) -> anyhow::Result<Vec<Named>> {
    let resolve = |flags: &PolicyArgs| load::policy(flags, file, Some(tokenizer), None);
    if choices.is_empty() {
        let policy = resolve(flags)?;
        return Ok(vec![Named { name: policy.preset.name().to_owned(), policy }]);
    }
    let named = |choice: &PolicyChoice| {
        Ok(Named { name: choice.text.clone(), policy: resolve(&choice.flags(flags))? })
    };
    choices.iter().map(named).collect()
}

impl PolicyChoice {
    /// The flags that ask for this policy: those of `shared` that belong to it, and its own fields.
    fn flags(&self, shared: &PolicyArgs) -> PolicyArgs {
        let mut flags = match self.preset {
            Preset::Full => PolicyArgs { ctx: shared.ctx, ..PolicyArgs::default() },
            Preset::Anchor => PolicyArgs { ctx: None, ..shared.clone() },
            Preset::SepLlm | Preset::Streaming | Preset::Window => PolicyArgs::default(),
        };
        flags.policy = Some(self.preset);
        for field in &self.fields {
            match *field {
                Field::Window(tokens) => flags.window = Some(tokens),
                Field::Sinks(tokens) => flags.sinks = Some(tokens),
                Field::MaxAnchors(anchors) => flags.max_anchors = Some(anchors),
                Field::MaxSegment(tokens) => flags.max_segment = Some(tokens),
                Field::MaxDistance(tokens) => flags.max_distance = Some(tokens),
                Field::Isolated(isolated) => flags.isolated = Some(isolated),
            }
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_the_flags_that_belong_to_it() {
        let shared = PolicyArgs { anchors: vec![".".to_owned()], ctx: Some(9), ..PolicyArgs::default() };
        let flags = |text: &str| text.parse::<PolicyChoice>().unwrap().flags(&shared);
        let anchor = flags("anchor:window=32:sinks=4");
        assert_eq!((anchor.policy, anchor.window, anchor.sinks), (Some(Preset::Anchor), Some(32), Some(4)));
        assert_eq!((anchor.anchors.len(), anchor.ctx), (1, None));
        assert_eq!((flags("full").anchors.len(), flags("full").ctx), (0, Some(9)));
        let other = flags("sepllm:max-anchors=7:max-segment=8:max-distance=9:isolated=true");
        assert_eq!((other.anchors.len(), other.ctx), (0, None));
        assert_eq!((other.max_anchors, other.max_segment), (Some(7), Some(8)));
        assert_eq!((other.max_distance, other.isolated), (Some(9), Some(true)));
    }

    #[test]
    fn an_entry_that_makes_no_sense_is_refused() {
        for text in [
            "",
            "everything",
            "anchor:",
            "anchor:window",
            "anchor:window=-1",
            "anchor:colour=3",
            "window:isolated=1",
        ] {
            assert!(text.parse::<PolicyChoice>().is_err(), "{text:?}");
        }
    }
}
