//! Which policy a model is read under: the recorded one, a preset, and options that override both.
//!
//! A [`PolicySpec`] knows ids and numbers. What people ask for instead, an anchor by its text or the system prompt kept for ever,
//! takes the model's tokenizer and chat template; it is worked out here, before there is a device.

use std::fmt;

use crate::kv::{AtMaxSegment, Insert, KvError, Place, Policy, PolicySpec, Preset};
use crate::model_file::ModelFile;
use crate::tokenizer::{TemplateArguments, Tokenizer, TokenizerError, Turns};

/// What a user asks for; nothing by default. What is left out is as recorded with the model, and else as the preset has it
/// ([`kv`](crate::kv) lists the defaults).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyOptions {
    /// The preset. Another than the recorded one starts from its own defaults. Without one, a model that records no policy has
    /// `sepllm` if `anchors`, `anchor_ids`, `window`, `max_anchors` or `max_distance` bounds the memory, else `full`.
    pub preset: Option<Preset>,
    /// Anchors (for `sepllm`: separators) by the exact text of the token, such as `"."` or `" ."`; every token with that text is
    /// one. By default, if none are recorded either, the full stop for `anchor`, and punctuation and line breaks for `sepllm`.
    pub anchors: Vec<String>,
    /// Anchors by id, together with those of `anchors`.
    pub anchor_ids: Vec<u32>,
    /// W: recent tokens seen, the query itself counted.
    pub window: Option<u32>,
    /// Tokens at the beginning of the text that stay readable.
    pub sinks: Option<Sinks>,
    /// A: newest anchors that stay readable.
    pub max_anchors: Option<u32>,
    /// M: tokens after which a segment is closed.
    pub max_segment: Option<u32>,
    /// What happens at M.
    pub at_max_segment: Option<AtMaxSegment>,
    /// D: anchors this far back are no longer read.
    pub max_distance: Option<u32>,
    /// Whether an anchor sees no earlier anchor.
    pub isolated: Option<bool>,
    /// A token right after a digit is no anchor, so that "3.14" stays in one segment.
    pub anchor_not_after_digit: bool,
    /// Where the policy's one anchor is put into prompts.
    pub insert: Option<Insertion>,
    /// Planned capacity of `full`, in tokens.
    pub ctx: Option<u32>,
    /// What the chat template is told, on which the length of a pinned system prompt may depend.
    pub template: TemplateArguments,
}

/// S: tokens at the beginning of a text that stay readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sinks {
    /// That many.
    Tokens(u32),
    /// Those of a conversation with this system prompt up to where the user speaks; `None` for one without.
    SystemPrompt(Option<String>),
}

/// Where anchors are put into prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insertion {
    /// Nowhere, whatever is recorded.
    Off,
    /// There.
    At(Place),
}

/// The policy for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenPolicy {
    /// What sessions take: every field a number.
    pub policy: Policy,
    /// The same before the preset's defaults were filled in, as it is recorded with a model.
    pub spec: PolicySpec,
    /// What whoever asked may want to know.
    pub notes: Vec<PolicyNote>,
}

/// Something that is no error, but may not be what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyNote {
    /// More context was asked for than the model was trained for.
    CtxBeyondTraining {
        /// What messages call the model.
        model: String,
        /// Tokens asked for.
        asked: u32,
        /// Tokens after which the text ends.
        limit: u32,
    },
    /// Policy `anchor`, and the model does not say that it was trained so.
    NotTrainedWithAnchors {
        /// What messages call the model.
        model: String,
    },
}

impl fmt::Display for PolicyNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CtxBeyondTraining { model, asked, limit } => write!(
                f,
                "ctx {asked} is more than the {limit} tokens {model} was trained for; the text ends there"
            ),
            Self::NotTrainedWithAnchors { model } => write!(
                f,
                "{model} does not say that it was trained with anchors; if it was not, it will write worse text under policy \
                 anchor (sepllm suits it better)"
            ),
        }
    }
}

/// Why a model has no such policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A field of the policy.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The tokenizer or the chat template, where the system prompt is to be counted.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A record that is no policy.
    #[error("{file}: field \"killick_policy\": {reason}")]
    Recorded {
        /// What messages call the model.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An anchor given as text, for a model that has no texts.
    #[error("{file} has no tokenizer, so the anchor {text:?} means nothing")]
    AnchorWithoutTokenizer {
        /// What messages call the model.
        file: String,
        /// The text given.
        text: String,
    },
    /// An anchor that no token is.
    #[error("anchor {text:?}: no token of {file} is exactly that")]
    UnknownAnchor {
        /// What messages call the model.
        file: String,
        /// The text given.
        text: String,
    },
    /// Digits, for a model that has no texts.
    #[error("{file} has no tokenizer, so anchor_not_after_digit means nothing")]
    DigitsWithoutTokenizer {
        /// What messages call the model.
        file: String,
    },
    /// What is to be inserted is not said, or said twice.
    #[error("insert needs a policy with exactly one anchor id, this one has {found}")]
    InsertNeedsOneAnchor {
        /// Anchor ids of the policy.
        found: usize,
    },
}

/// The policy recorded with a model or its adapters, if there is one.
///
/// # Errors
/// [`PolicyError::Recorded`] if what is recorded is no policy.
pub fn recorded_policy(file: &ModelFile) -> Result<Option<PolicySpec>, PolicyError> {
    let record = file.policy().map(|value| serde_json::from_value(value.clone()));
    record
        .transpose()
        .map_err(|error| PolicyError::Recorded { file: file.label().to_owned(), reason: error.to_string() })
}

impl PolicyOptions {
    /// The policy for the model in `file`. `tokenizer` is the model's own; a model without one can be asked in ids and numbers.
    ///
    /// # Errors
    /// A record that is no policy, a field out of its range, an anchor that is no token of the model, what needs a tokenizer or a
    /// chat template for a model without.
    pub fn choose(
        &self,
        file: &ModelFile,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<ChosenPolicy, PolicyError> {
        let recorded = recorded_policy(file)?;
        let trained = recorded.as_ref().is_some_and(|recorded| recorded.preset == Preset::Anchor);
        let spec = self.spec(recorded, file, tokenizer)?;
        let policy = spec.resolve(&file.config)?;
        policy.check_vocab(file.config.vocab_size)?;
        let model = file.label().to_owned();
        let mut notes = Vec::new();
        if let (Some(asked), Some(limit)) = (spec.ctx, policy.limit)
            && asked > limit
        {
            notes.push(PolicyNote::CtxBeyondTraining { model: model.clone(), asked, limit });
        }
        if policy.preset == Preset::Anchor && !trained {
            notes.push(PolicyNote::NotTrainedWithAnchors { model });
        }
        Ok(ChosenPolicy { policy, spec, notes })
    }

    fn spec(
        &self,
        recorded: Option<PolicySpec>,
        file: &ModelFile,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<PolicySpec, PolicyError> {
        let mut spec = self.start(recorded);
        let defaults = tokenizer.and_then(|tokenizer| default_anchors(spec.preset, tokenizer));
        spec.anchors = self.anchor_ids(file, tokenizer)?.or(spec.anchors).or(defaults);
        spec.window = self.window.or(spec.window);
        spec.max_anchors = self.max_anchors.or(spec.max_anchors);
        spec.max_segment = self.max_segment.or(spec.max_segment);
        spec.at_max_segment = self.at_max_segment.or(spec.at_max_segment);
        spec.max_distance = self.max_distance.or(spec.max_distance);
        spec.isolated = self.isolated.or(spec.isolated);
        spec.ctx = self.ctx.or(spec.ctx);
        spec.insert = self.inserted(&spec)?;
        if self.anchor_not_after_digit {
            let missing = || PolicyError::DigitsWithoutTokenizer { file: file.label().to_owned() };
            spec.not_after = Some(tokenizer.ok_or_else(missing)?.ids_ending_in_digit());
        }
        spec.sinks = match &self.sinks {
            None => spec.sinks,
            Some(Sinks::Tokens(tokens)) => Some(*tokens),
            Some(Sinks::SystemPrompt(system)) => {
                let missing = || TokenizerError::Missing { file: file.label().to_owned() };
                let tokenizer = tokenizer.ok_or_else(missing)?;
                // What is inserted into the system prompt does not depend on how much of it is pinned.
                let policy = spec.resolve(&file.config)?;
                let turns = Turns::of(file, tokenizer)?.with(&self.template)?;
                Some(turns.system_tokens(tokenizer, system.as_deref(), &policy)?)
            }
        };
        Ok(spec)
    }

    /// What the options override.
    fn start(&self, recorded: Option<PolicySpec>) -> PolicySpec {
        match (self.preset, recorded) {
            (Some(preset), Some(recorded)) if recorded.preset == preset => recorded,
            // Another policy than the recorded one starts from its own defaults.
            (Some(preset), _) => PolicySpec::new(preset),
            (None, Some(recorded)) => recorded,
            // A stock model: bounds ask for a policy that has them.
            (None, None) if self.is_bounded() => PolicySpec::new(Preset::SepLlm),
            (None, None) => PolicySpec::new(Preset::Full),
        }
    }

    /// Whether the number of that name, as [`KvError::OutOfRange`] gives it, is asked for here and not recorded with the model.
    pub fn sets(&self, field: &str) -> bool {
        match field {
            "window" => self.window.is_some(),
            "sinks" => self.sinks.is_some(),
            "max_anchors" => self.max_anchors.is_some(),
            "max_segment" => self.max_segment.is_some(),
            "max_distance" => self.max_distance.is_some(),
            "ctx" => self.ctx.is_some(),
            _ => false,
        }
    }

    /// Whether anchors are asked for here.
    pub fn names_anchors(&self) -> bool {
        !self.anchors.is_empty() || !self.anchor_ids.is_empty()
    }

    /// Whether less than the whole text is to be remembered.
    fn is_bounded(&self) -> bool {
        self.names_anchors()
            || self.window.is_some()
            || self.max_anchors.is_some()
            || self.max_distance.is_some()
    }

    /// Ids of `anchor_ids` and `anchors`; `None` if neither was given.
    fn anchor_ids(
        &self,
        file: &ModelFile,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Option<Vec<u32>>, PolicyError> {
        if !self.names_anchors() {
            return Ok(None);
        }
        let mut ids = self.anchor_ids.clone();
        for text in &self.anchors {
            let (label, text) = (file.label().to_owned(), text.clone());
            let Some(tokenizer) = tokenizer else {
                return Err(PolicyError::AnchorWithoutTokenizer { file: label, text });
            };
            let found = tokenizer.ids_of_bytes(text.as_bytes());
            if found.is_empty() {
                return Err(PolicyError::UnknownAnchor { file: label, text });
            }
            ids.extend(found);
        }
        Ok(Some(ids))
    }

    /// Where anchors are put into a prompt, once it is known which anchors `spec` has.
    fn inserted(&self, spec: &PolicySpec) -> Result<Option<Insert>, PolicyError> {
        let place = match self.insert {
            None => return Ok(spec.insert),
            Some(Insertion::Off) => return Ok(None),
            Some(Insertion::At(place)) => place,
        };
        match spec.anchors.as_deref().unwrap_or_default() {
            &[id] => Ok(Some(Insert { id, place })),
            anchors => Err(PolicyError::InsertNeedsOneAnchor { found: anchors.len() }),
        }
    }
}

/// AnLLM-EP closes a segment at a full stop; SepLLM remembers punctuation and line breaks. `None` for a policy without anchors, or a
/// vocabulary without these.
fn default_anchors(preset: Preset, tokenizer: &Tokenizer) -> Option<Vec<u32>> {
    let texts: &[&str] = match preset {
        Preset::Anchor => &["."],
        Preset::SepLlm => &[".", ",", "?", "!", ";", ":", "\n"],
        Preset::Full | Preset::Streaming | Preset::Window => return None,
    };
    let ids: Vec<u32> = texts.iter().flat_map(|text| tokenizer.ids_of_bytes(text.as_bytes())).collect();
    (!ids.is_empty()).then_some(ids)
}
