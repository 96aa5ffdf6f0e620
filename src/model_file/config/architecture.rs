//! The architectures, and what the files of each take for granted.
//!
//! All of them are computed by one forward pass: where they differ, a field of [`Config`](super::Config) says so.
//! What is left is convention, which no file spells out: names, defaults, and the order of rows.

use serde::Serialize;

/// What a checkpoint calls itself (`model_type` in config.json, `general.architecture` in GGUF).
#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 1 to 3.3 and all that copied it: `TinyLlama`, `SmolLM2`; as GGUF also Mistral.
    Llama,
    /// Mistral: a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: queries and keys are normalized, head by head.
    Qwen3,
    /// `SmolLM3`: some layers know no positions.
    SmolLm3,
    /// Phi-3 and Phi-4: stacked weights, part of a head rotated.
    Phi3,
    /// Gemma 2: windows in every other layer, norms on both sides of a block, scores and logits within bounds.
    Gemma2,
    /// Gemma 3, text alone: windows in five layers of six, which turn by a base of their own; normalized queries and keys.
    #[serde(rename = "gemma3_text")]
    Gemma3,
}

/// What an architecture's files do not say.
pub(in crate::model_file) struct Conventions {
    /// `model_type` in config.json.
    pub(in crate::model_file) model_type: &'static str,
    /// The class in config.json's `architectures`.
    pub(in crate::model_file) class: &'static str,
    /// `general.architecture` in GGUF, which is also how its keys begin; `None` if it has no name of its own there.
    pub(in crate::model_file) gguf: Option<&'static str>,
    /// Whether GGUF interleaves the two halves of each head of q and k, because llama.cpp rotates neighbours there.
    pub(in crate::model_file) interleaved: bool,
    /// Whether q, k and v, and gate and up, are stacked in one tensor each.
    pub(in crate::model_file) stacked: bool,
    /// The base of the rotary frequencies where config.json is silent.
    pub(in crate::model_file) rope_theta: f64,
    /// The epsilon where config.json is silent.
    pub(in crate::model_file) rms_norm_eps: f64,
    /// Whether embeddings are tied where config.json is silent.
    pub(in crate::model_file) tied: bool,
    /// Whether it is a Gemma: embeddings scaled by the root of the hidden size, GELU, norms before and after each block, and gains that
    /// a checkpoint stores less one, but GGUF does not.
    pub(in crate::model_file) is_gemma: bool,
}

/// Those of Llama, from which the others differ in a few places.
const LLAMA: Conventions = Conventions {
    model_type: "llama",
    class: "LlamaForCausalLM",
    gguf: Some("llama"),
    interleaved: true,
    stacked: false,
    rope_theta: 10_000.0,
    rms_norm_eps: 1e-6,
    tied: false,
    is_gemma: false,
};

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::SmolLm3,
        Self::Phi3,
        Self::Gemma2,
        Self::Gemma3,
    ];

    /// The name in config.json, and in what this engine prints.
    pub fn name(self) -> &'static str {
        self.conventions().model_type
    }

    /// The class in config.json's `architectures`.
    #[cfg(feature = "convert")]
    pub(crate) fn class(self) -> &'static str {
        self.conventions().class
    }

    /// The name in GGUF, if it has one of its own there.
    pub(crate) fn gguf_name(self) -> Option<&'static str> {
        self.conventions().gguf
    }

    /// Whether GGUF interleaves the two halves of each head of q and k.
    #[cfg(feature = "convert")]
    pub(crate) fn is_interleaved(self) -> bool {
        self.conventions().interleaved
    }

    /// Whether a checkpoint of it stores the gains of norms less one.
    #[cfg(feature = "convert")]
    pub(crate) fn is_gemma(self) -> bool {
        self.conventions().is_gemma
    }

    /// After the config classes of `transformers` and the converter of llama.cpp.
    pub(in crate::model_file) const fn conventions(self) -> Conventions {
        match self {
            Self::Llama => LLAMA,
            Self::Mistral => {
                Conventions { model_type: "mistral", class: "MistralForCausalLM", gguf: None, ..LLAMA }
            }
            Self::Qwen2 => Conventions {
                model_type: "qwen2",
                class: "Qwen2ForCausalLM",
                gguf: Some("qwen2"),
                interleaved: false,
                ..LLAMA
            },
            Self::Qwen3 => Conventions {
                model_type: "qwen3",
                class: "Qwen3ForCausalLM",
                gguf: Some("qwen3"),
                interleaved: false,
                ..LLAMA
            },
            Self::SmolLm3 => Conventions {
                model_type: "smollm3",
                class: "SmolLM3ForCausalLM",
                gguf: Some("smollm3"),
                rope_theta: 2_000_000.0,
                tied: true,
                ..LLAMA
            },
            Self::Phi3 => Conventions {
                model_type: "phi3",
                class: "Phi3ForCausalLM",
                gguf: Some("phi3"),
                interleaved: false,
                stacked: true,
                rms_norm_eps: 1e-5,
                ..LLAMA
            },
            Self::Gemma2 => Conventions {
                model_type: "gemma2",
                class: "Gemma2ForCausalLM",
                gguf: Some("gemma2"),
                interleaved: false,
                tied: true,
                is_gemma: true,
                ..LLAMA
            },
            Self::Gemma3 => Conventions {
                model_type: "gemma3_text",
                class: "Gemma3ForCausalLM",
                gguf: Some("gemma3"),
                interleaved: false,
                rope_theta: 1_000_000.0,
                tied: true,
                is_gemma: true,
                ..LLAMA
            },
        }
    }

    /// The one of which `name` picks `wanted`.
    pub(super) fn find(wanted: &str, name: impl Fn(&Conventions) -> Option<&'static str>) -> Option<Self> {
        Self::ALL.into_iter().find(|one| name(&one.conventions()) == Some(wanted))
    }

    /// The names that `name` picks, for messages.
    pub(super) fn names(name: impl Fn(&Conventions) -> Option<&'static str>) -> String {
        let names: Vec<_> = Self::ALL.iter().filter_map(|one| name(&one.conventions())).collect();
        names.join(", ")
    }
}
