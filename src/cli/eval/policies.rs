//! The policies that a measurement compares.

use std::str::FromStr;

use crate::cli::load;
use crate::engine::Opened;
use crate::kv::{Policy, Preset};
use crate::policy_options::{PolicyOptions, Sinks};

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
pub(in crate::cli) struct Named {
    pub(in crate::cli) name: String,
    pub(in crate::cli) policy: Policy,
}

/// The policies of `--policies`, or without it the one that the other flags ask for.
pub(super) fn policies(
    choices: &[PolicyChoice],
    shared: &PolicyOptions,
    model: &Opened,
) -> anyhow::Result<Vec<Named>> {
    if choices.is_empty() {
        let policy = load::policy(model, shared)?;
        return Ok(vec![Named { name: policy.preset.name().to_owned(), policy }]);
    }
    let named = |choice: &PolicyChoice| {
        Ok(Named { name: choice.text.clone(), policy: load::policy(model, &choice.options(shared))? })
    };
    choices.iter().map(named).collect()
}

impl PolicyChoice {
    /// The entry as it was written.
    pub(in crate::cli) fn text(&self) -> &str {
        &self.text
    }

    /// What this policy is asked for by: those of the `shared` options that belong to it, and its own fields.
    pub(in crate::cli) fn options(&self, shared: &PolicyOptions) -> PolicyOptions {
        let mut options = match self.preset {
            Preset::Full => PolicyOptions { ctx: shared.ctx, ..PolicyOptions::default() },
            Preset::Anchor => PolicyOptions { ctx: None, ..shared.clone() },
            Preset::SepLlm | Preset::Streaming | Preset::Window => PolicyOptions::default(),
        };
        options.preset = Some(self.preset);
        for field in &self.fields {
            match *field {
                Field::Window(tokens) => options.window = Some(tokens),
                Field::Sinks(tokens) => options.sinks = Some(Sinks::Tokens(tokens)),
                Field::MaxAnchors(anchors) => options.max_anchors = Some(anchors),
                Field::MaxSegment(tokens) => options.max_segment = Some(tokens),
                Field::MaxDistance(tokens) => options.max_distance = Some(tokens),
                Field::Isolated(isolated) => options.isolated = Some(isolated),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_the_options_that_belong_to_it() {
        let shared =
            PolicyOptions { anchors: vec![".".to_owned()], ctx: Some(9), ..PolicyOptions::default() };
        let options = |text: &str| text.parse::<PolicyChoice>().unwrap().options(&shared);
        let anchor = options("anchor:window=32:sinks=4");
        assert_eq!((anchor.preset, anchor.window), (Some(Preset::Anchor), Some(32)));
        assert_eq!((anchor.sinks, anchor.ctx), (Some(Sinks::Tokens(4)), None));
        assert_eq!(anchor.anchors.len(), 1);
        assert_eq!((options("full").anchors.len(), options("full").ctx), (0, Some(9)));
        let other = options("sepllm:max-anchors=7:max-segment=8:max-distance=9:isolated=true");
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
