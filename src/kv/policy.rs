//! What is remembered: one struct, five presets.
//!
//! [`PolicySpec`] is what a user, a command line or a model file asks for: a preset and any number of
//! overrides. [`Policy`] is the answer: every field a number, nothing infinite, so that memory is known
//! before the first token. The five published methods differ in these fields only, which is why one ring and
//! one set of kernels serve all.
//!
//! | preset | `seg_rule` | window W | sinks S | anchors | isolated | A | M | D |
//! |---|---|---|---|---|---|---|---|---|
//! | `full` | no | the model's, or capacity | 0 | none | no | 1024 | 1024 | trained |
//! | `anchor` | yes | 1 | 0 | required | yes | 1024 | 1024 | trained |
//! | `sepllm` | no | 256 | 3 | required | no | 1024 | 1024 | trained |
//! | `streaming` | no | 513 | 4 | none | no | 1024 | 1024 | S + W |
//! | `window` | no | 256 | 0 | none | no | 1024 | 1024 | trained |
//!
//! "trained" is the context that the model was trained for; W, A and M never default to more than that, and
//! the capacity of `full` is it too, unless a smaller `ctx` is planned. A model that was trained with a sliding window
//! (Mistral) has that as the window of `full`, for there is no more that it ever saw; the other presets replace it.
//! Where only some layers have a window (Gemma), those keep it under every preset: the others are there to remember.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{KvError, MAX_POSITIONS};
use crate::model_file::{Config, QUOTED_CHARS, cut};

/// Window of `sepllm`, the query itself counted (SepLLM's `n` of `llama3_sepllm_a3_n256`).
const SEPLLM_WINDOW: u32 = 256;
/// Sinks of `sepllm` (SepLLM's `a`).
const SEPLLM_SINKS: u32 = 3;
/// Window of `streaming`: StreamingLLM keeps 512 recent tokens, and the query sees them and itself.
const STREAMING_WINDOW: u32 = 512 + 1;
/// Sinks of `streaming` (StreamingLLM's `start_size`).
const STREAMING_SINKS: u32 = 4;
/// Window of `window`, the same as `sepllm`'s so that the two can be compared.
const WINDOW_WINDOW: u32 = 256;
/// Window of `anchor`: beside its own segment a token sees no recent ones.
const ANCHOR_WINDOW: u32 = 1;
/// Newest anchors kept (A): at two dozen tokens a sentence, some 25,000 tokens of text.
const DEFAULT_MAX_ANCHORS: u32 = 1024;
/// Longest segment (M): far beyond any sentence, and still a bound where a text has no full stop at all.
const DEFAULT_MAX_SEGMENT: u32 = 1024;

/// The five published policies; a preset is nothing but defaults for the fields of [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Everything is kept, up to a planned capacity.
    Full,
    /// AnLLM: the open segment, and the anchor of each closed one.
    Anchor,
    /// SepLLM: first tokens, separators, recent tokens.
    SepLlm,
    /// StreamingLLM: first tokens and recent tokens, at positions inside the cache.
    Streaming,
    /// Recent tokens only.
    Window,
}

impl Preset {
    /// Every preset, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Full, Self::Anchor, Self::SepLlm, Self::Streaming, Self::Window];

    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Anchor => "anchor",
            Self::SepLlm => "sepllm",
            Self::Streaming => "streaming",
            Self::Window => "window",
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Preset {
    type Err = KvError;

    fn from_str(name: &str) -> Result<Self, KvError> {
        let found = Self::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| KvError::UnknownPreset { name: cut(name, QUOTED_CHARS).0.to_owned() })
    }
}

/// A set of token ids: the anchors, those right after which none is an anchor, those that end a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TokenSet(Vec<u32>); // ascending, each once

impl TokenSet {
    /// Whether `id` is one of them.
    pub fn contains(&self, id: u32) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One bit per token of the vocabulary, for the GPU: id `i` is bit `i % 32` of word `i / 32`.
    /// Ids outside the vocabulary have no bit; [`Policy::check_vocab`] refuses them.
    pub fn bitset_words(&self, vocab_size: u32) -> Vec<u32> {
        let mut words = vec![0_u32; vocab_size.div_ceil(32) as usize];
        for &id in self.0.iter().take_while(|&&id| id < vocab_size) {
            words[(id / 32) as usize] |= 1 << (id % 32);
        }
        words
    }
}

impl FromIterator<u32> for TokenSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids)
    }
}

/// An anchor that is put into the text although nobody wrote it (AnLLM-AC's `<AC>`): a promise of how the model was
/// trained, kept by whoever turns text into ids. The rule never reads it, for once inserted it is a token like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    /// The token inserted; one of the policy's anchors.
    pub id: u32,
    /// Where it goes.
    pub place: Place,
}

/// Where in a prompt anchors are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Between two sentences, and none after the last.
    Between,
    /// After each sentence.
    After,
}

/// What happens where a segment would grow beyond M tokens. The numbers are those that the kernels read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtMaxSegment {
    /// Its M-th token closes it, whatever that token is: an anchor by force.
    Close = 0,
    /// Nothing is consumed any more: an error before the token, and the end of a text that is being generated.
    Error = 1,
    /// The inserted anchor ([`Insert`]) becomes its M-th token, in prompts and in what is generated. A text that is given
    /// as ids may still hold a longer segment; its M-th token then closes it.
    Insert = 2,
}

impl AtMaxSegment {
    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Error => "error",
            Self::Insert => "insert",
        }
    }
}

/// What a model was trained for, as far as defaults depend on it. A number alone is a context without a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trained {
    /// Positions of context.
    pub context: u32,
    /// Recent tokens that a token sees, itself counted, where every layer has such a window.
    pub window: Option<u32>,
    /// The same where some layers have one and others have none.
    pub layer_window: Option<u32>,
}

impl From<u32> for Trained {
    fn from(context: u32) -> Self {
        Self { context, window: None, layer_window: None }
    }
}

impl From<&Config> for Trained {
    fn from(config: &Config) -> Self {
        let (window, layer_window) = match config.sliding_window {
            window if config.full_layers.is_empty() => (window, None),
            window => (None, window),
        };
        Self { context: config.context_len, window, layer_window }
    }
}

/// What is asked for: a preset and overrides. A field left out takes the preset's default (see the module's
/// table).
///
/// The JSON that a resolved [`Policy`] prints reads back as a spec that resolves to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySpec {
    /// Where the defaults come from.
    #[serde(alias = "name")]
    pub preset: Preset,
    /// Whether a token sees the whole of its own segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seg_rule: Option<bool>,
    /// W: recent tokens seen, the query itself counted; 1 to [`MAX_POSITIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// S: tokens at the start of the text that stay readable; 0 to [`MAX_POSITIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks: Option<u32>,
    /// Token ids that are anchors (separators, for `sepllm`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Vec<u32>>,
    /// Token ids right after which no token is an anchor by its id: those that end in a digit keep "3.14" together. None
    /// by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Vec<u32>>,
    /// Whether an anchor sees no earlier anchor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolated: Option<bool>,
    /// A: newest anchors that stay readable; 0 to [`MAX_POSITIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_anchors: Option<u32>,
    /// M: tokens after which a segment is closed by force; 1 to [`MAX_POSITIONS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_segment: Option<u32>,
    /// What happens at M; by default an anchor is inserted where prompts get one too, else the segment is closed by force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_max_segment: Option<AtMaxSegment>,
    /// D: anchors this far back are no longer read, and pinned tokens are read as if at most this far back;
    /// from 1 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_distance: Option<u32>,
    /// Planned capacity in positions; `full` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctx: Option<u32>,
    /// The anchor that is put between or after the sentences of a prompt; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insert: Option<Insert>,
}

impl PolicySpec {
    /// The preset as it is, nothing overridden.
    pub fn new(preset: Preset) -> Self {
        Self {
            preset,
            seg_rule: None,
            window: None,
            sinks: None,
            anchors: None,
            not_after: None,
            isolated: None,
            max_anchors: None,
            max_segment: None,
            at_max_segment: None,
            max_distance: None,
            ctx: None,
            insert: None,
        }
    }

    /// Fills in the defaults for a model (its config, or the positions it was trained on) and checks every bound.
    ///
    /// # Errors
    /// A field out of its range, `anchor` or `sepllm` without anchor ids, `ctx` without `full`, or an inserted
    /// token that is no anchor.
    pub fn resolve(&self, trained: impl Into<Trained>) -> Result<Policy, KvError> {
        let preset = self.preset;
        let Trained { context: trained_context, window: trained_window, layer_window } = trained.into();
        in_range("trained_context", trained_context, 1, u32::MAX)?;
        if let Some(ctx) = self.ctx {
            in_range("ctx", ctx, 1, u32::MAX)?;
            if preset != Preset::Full {
                return Err(KvError::CtxWithoutFull { ctx, preset });
            }
        }
        if self.anchors.is_none() && matches!(preset, Preset::Anchor | Preset::SepLlm) {
            return Err(KvError::MissingAnchors { preset });
        }

        let trained = trained_context.min(MAX_POSITIONS);
        let capacity = self.ctx.unwrap_or(trained).min(trained);
        let sinks = self.sinks.unwrap_or(match preset {
            Preset::SepLlm => SEPLLM_SINKS,
            Preset::Streaming => STREAMING_SINKS,
            Preset::Full | Preset::Anchor | Preset::Window => 0,
        });
        let default_window = match preset {
            Preset::Full => trained_window.unwrap_or(capacity),
            Preset::Anchor => ANCHOR_WINDOW,
            Preset::SepLlm => SEPLLM_WINDOW.min(trained),
            // Its D is S + W, which has to stay inside the trained context as well.
            Preset::Streaming => STREAMING_WINDOW.min(trained.saturating_sub(sinks).max(1)),
            Preset::Window => WINDOW_WINDOW.min(trained),
        };
        let window = self.window.unwrap_or(default_window);
        let policy = Policy {
            preset,
            seg_rule: self.seg_rule.unwrap_or(preset == Preset::Anchor),
            // A window wider than the capacity is the same function in more memory.
            window: if preset == Preset::Full { window.min(capacity) } else { window },
            sinks,
            anchors: self.anchors.iter().flatten().copied().collect(),
            not_after: self.not_after.iter().flatten().copied().collect(),
            isolated: self.isolated.unwrap_or(preset == Preset::Anchor),
            max_anchors: self.max_anchors.unwrap_or(DEFAULT_MAX_ANCHORS.min(trained)),
            max_segment: self.max_segment.unwrap_or(DEFAULT_MAX_SEGMENT.min(trained)),
            at_max_segment: self.at_max_segment.unwrap_or(match self.insert {
                Some(_) => AtMaxSegment::Insert,
                None => AtMaxSegment::Close,
            }),
            max_distance: self.max_distance.unwrap_or(match preset {
                Preset::Streaming => sinks.saturating_add(window),
                _ => trained_context,
            }),
            limit: (preset == Preset::Full).then_some(capacity),
            insert: self.insert,
            layer_window,
        };
        policy.validate()?;
        Ok(policy)
    }
}

/// A resolved policy: the whole of what decides which token sees which. Read by the oracle, the ring and the
/// kernels.
///
/// `u32::MAX` in W, A, M or D means unbounded to the oracle ([`super::mask`]); [`PolicySpec::resolve`] and
/// [`super::Ring::new`] take only what memory can be planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The preset it came from; a name for people, never read by the rule.
    #[serde(rename = "name")]
    pub preset: Preset,
    /// Whether a token sees the whole of its own segment.
    pub seg_rule: bool,
    /// W: recent tokens seen, the query itself counted.
    pub window: u32,
    /// S: pinned tokens at the start of the text.
    pub sinks: u32,
    /// Ids of the tokens that close a segment.
    pub anchors: TokenSet,
    /// Ids right after which none of [`Self::anchors`] is an anchor.
    #[serde(skip_serializing_if = "TokenSet::is_empty")]
    pub not_after: TokenSet,
    /// Whether an anchor sees no earlier anchor.
    pub isolated: bool,
    /// A: newest anchors that stay readable.
    pub max_anchors: u32,
    /// M: tokens after which `seg_rule` closes a segment by force.
    pub max_segment: u32,
    /// What happens at M.
    pub at_max_segment: AtMaxSegment,
    /// D: distance at which an anchor is no longer read, and to which the distance of pinned tokens is
    /// clamped.
    pub max_distance: u32,
    /// Positions after which `full` ends with `context_full`; `None` is endless text.
    #[serde(rename = "ctx", skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The anchor that is put between or after the sentences of a prompt; recorded, never read by the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insert: Option<Insert>,
    /// The window of the layers that have one of their own, the query counted, in a model whose other layers have none: they see of
    /// all that this policy shows what lies inside. The model's, not the policy's, so no spec has it.
    #[serde(skip)]
    pub layer_window: Option<u32>,
}

impl Policy {
    /// L = max(W, M if `seg_rule`): the most tokens that the live range of a query can hold.
    pub fn live_len(&self) -> u32 {
        if self.seg_rule { self.window.max(self.max_segment) } else { self.window }
    }

    /// The largest distance at which a token sees another, plus one. It does not depend on the text, nor on windows of layers.
    pub fn reach(&self) -> u32 {
        let far = self.sinks > 0 || (self.has_anchors() && self.max_anchors > 0);
        let distance = if far { self.live_len().max(self.max_distance) } else { self.live_len() };
        distance.min(self.limit.unwrap_or(MAX_POSITIONS))
    }

    /// Whether a token can be an anchor at all: by its id, or by force.
    pub fn has_anchors(&self) -> bool {
        self.seg_rule || !self.anchors.is_empty()
    }

    /// The anchor test, online: `(is_anchor, forced)` of token `id`, which is the `open_len`-th of its
    /// segment (from 1). `barred`: the token before it is one of [`Self::not_after`].
    pub fn anchor_test(&self, id: u32, open_len: u32, barred: bool) -> (bool, bool) {
        let member = self.is_member(id, barred);
        let at_bound = self.seg_rule && open_len == self.max_segment;
        // One that was inserted at the bound is the bound's doing, though it is an anchor by its id.
        let forced = at_bound && (!member || self.at_max_segment == AtMaxSegment::Insert);
        (member || at_bound, forced)
    }

    /// Whether a token is an anchor by its id.
    pub(super) fn is_member(&self, id: u32, barred: bool) -> bool {
        !barred && self.anchors.contains(id)
    }

    /// The two bit sets that the kernels read, word by word in turn: [`Self::anchors`] in the even words,
    /// [`Self::not_after`] in the odd ones.
    pub fn anchor_bits(&self, vocab_size: u32) -> Vec<u32> {
        let [anchors, not_after] = [&self.anchors, &self.not_after].map(|set| set.bitset_words(vocab_size));
        anchors.into_iter().zip(not_after).flat_map(|(anchors, not_after)| [anchors, not_after]).collect()
    }

    /// Checks every bound that memory depends on, and that what is inserted is an anchor.
    ///
    /// # Errors
    /// [`KvError::OutOfRange`] with the first field that is outside its range, [`KvError::InsertNotAnchor`].
    pub fn validate(&self) -> Result<(), KvError> {
        in_range("window", self.window, 1, MAX_POSITIONS)?;
        in_range("sinks", self.sinks, 0, MAX_POSITIONS)?;
        in_range("max_anchors", self.max_anchors, 0, MAX_POSITIONS)?;
        in_range("max_segment", self.max_segment, 1, MAX_POSITIONS)?;
        in_range("max_distance", self.max_distance, 1, u32::MAX)?;
        in_range("layer_window", self.layer_window.unwrap_or(1), 1, u32::MAX)?;
        in_range("ctx", self.limit.unwrap_or(MAX_POSITIONS), 1, MAX_POSITIONS)?;
        if self.at_max_segment == AtMaxSegment::Insert {
            // Where every token is the last of its segment, insertions would not end.
            in_range("max_segment", self.max_segment, 2, MAX_POSITIONS)?;
        }
        match self.insert {
            Some(_) if !self.not_after.is_empty() => Err(KvError::InsertBarred),
            Some(insert) if !self.anchors.contains(insert.id) => {
                Err(KvError::InsertNotAnchor { id: insert.id })
            }
            None if self.at_max_segment == AtMaxSegment::Insert => Err(KvError::NothingToInsert),
            _ => Ok(()),
        }
    }

    /// Checks the ids of the policy against a model's vocabulary.
    ///
    /// # Errors
    /// [`KvError::AnchorOutsideVocab`] with the first id outside.
    pub fn check_vocab(&self, vocab_size: u32) -> Result<(), KvError> {
        let sets = [&self.anchors, &self.not_after].into_iter().flat_map(|set| set.ids()).copied();
        let mut ids = sets.chain(self.insert.map(|insert| insert.id));
        match ids.find(|&id| id >= vocab_size) {
            Some(id) => Err(KvError::AnchorOutsideVocab { id, vocab_size }),
            None => Ok(()),
        }
    }
}

fn in_range(field: &'static str, value: u32, min: u32, max: u32) -> Result<(), KvError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(KvError::OutOfRange { field, value, min, max }) }
}
