//! What comes as JSON text, so that a page, a worker and a test write the same documents.

use killick::gpu::{F16, Family};
use killick::kernels::WeightFormat;
use killick::policy_options::Sinks;
use killick::{
    GenerateOptions, GpuOptions, KvFormat, Opened, Policy, PolicyOptions, Preset, SamplerOptions,
    SessionOptions,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::Fault;

/// Reads options; an error names the field.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Fault> {
    serde_json::from_str(json).map_err(|error| Fault::option(format!("options: {error}")))
}

/// How weights are stored on the device.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    #[default]
    File,
    F32,
    F16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl From<Dtype> for WeightFormat {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::File => Self::File,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Q8_0 => Self::Q8_0,
            Dtype::Q4_0 => Self::Q4_0,
        }
    }
}

/// How to open a device.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DeviceOptions {
    /// No optional feature and WebGPU's default limits, whatever the adapter offers.
    baseline: bool,
    /// `gpu` or `software`: the kernels to run; those that suit the adapter where it is not given.
    family: Option<Family>,
    /// Whether products of prompts are computed in 16-bit floats; nothing is measured in a browser, so `true` takes them unmeasured.
    f16: bool,
}

impl From<DeviceOptions> for GpuOptions {
    fn from(options: DeviceOptions) -> Self {
        let DeviceOptions { baseline, family, f16 } = options;
        Self { baseline, family, f16: f16.then_some(F16::Always), ..Self::default() }
    }
}

/// Which policy a text is read under. What is left out is as recorded with the model, or a default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PolicyArgs {
    preset: Option<Preset>,
    /// Anchors by their ids.
    anchors: Vec<u32>,
    window: Option<u32>,
    sinks: Option<u32>,
    /// In a conversation: everything up to where the user first speaks never leaves the cache.
    pin_system: bool,
    max_anchors: Option<u32>,
    max_segment: Option<u32>,
    max_distance: Option<u32>,
    isolated: Option<bool>,
    ctx: Option<u32>,
}

/// What it is, and what may be worth knowing of it.
pub(crate) struct Chosen {
    pub(crate) policy: Policy,
    pub(crate) notes: Vec<String>,
}

impl PolicyArgs {
    /// The policy of `opened` that these ask for; `system` is the system prompt of a conversation.
    pub(crate) fn choose(self, opened: &Opened, system: Option<&str>) -> Result<Chosen, Fault> {
        let pinned = self.pin_system.then(|| Sinks::SystemPrompt(system.map(ToOwned::to_owned)));
        let options = PolicyOptions {
            preset: self.preset,
            anchor_ids: self.anchors,
            window: self.window,
            sinks: self.sinks.map(Sinks::Tokens).or(pinned),
            max_anchors: self.max_anchors,
            max_segment: self.max_segment,
            max_distance: self.max_distance,
            isolated: self.isolated,
            ctx: self.ctx,
            ..PolicyOptions::default()
        };
        let chosen = opened.policy(&options)?;
        Ok(Chosen { policy: chosen.policy, notes: chosen.notes.iter().map(ToString::to_string).collect() })
    }
}

/// What a text is laid out for.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TextOptions {
    pub(crate) policy: PolicyArgs,
    /// A conversation, by the model's chat template.
    pub(crate) chat: bool,
    /// Said before everything else in a conversation.
    pub(crate) system: Option<String>,
    pub(crate) kv: KvFormat,
}

impl TextOptions {
    pub(crate) fn session(&self) -> SessionOptions {
        SessionOptions { kv: self.kv, ..SessionOptions::default() }
    }
}

/// How to go on with a text; what is left out is as the model's files recommend, and else as the library has it.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WriteOptions {
    max_tokens: Option<u32>,
    ignore_eos: bool,
    /// Texts that end it wherever they occur; only with a tokenizer.
    pub(crate) stop: Vec<String>,
    /// 0 takes the likeliest token.
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: u64,
}

impl WriteOptions {
    /// The options, as in `base` where they are not given.
    pub(crate) fn generate(&self, base: &SamplerOptions) -> GenerateOptions {
        let sampler = SamplerOptions {
            temperature: self.temperature.unwrap_or(base.temperature),
            top_k: self.top_k.unwrap_or(base.top_k),
            top_p: self.top_p.unwrap_or(base.top_p),
            min_p: self.min_p.unwrap_or(base.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(base.repetition_penalty),
            seed: self.seed,
            ..base.clone()
        };
        let options = GenerateOptions { ignore_eos: self.ignore_eos, sampler, ..GenerateOptions::default() };
        GenerateOptions { max_tokens: self.max_tokens.unwrap_or(options.max_tokens), ..options }
    }
}

/// What to score, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreOptions {
    /// Token ids, to which nothing is added. Either these or `text`.
    pub(crate) ids: Option<Vec<u32>>,
    /// A text, to which the special tokens are added that the tokenizer's own settings ask for.
    pub(crate) text: Option<String>,
    #[serde(default)]
    pub(crate) policy: PolicyArgs,
    /// `masked`, `ring` or `chunk:N`.
    pub(crate) path: String,
}
