//! The error of the library: one variant per room.

use crate::eval::EvalError;
use crate::gpu::GpuError;
use crate::kv::KvError;
use crate::model::{LoadError, PlanError};
use crate::model_file::ModelFileError;
use crate::tokenizer::TokenizerError;

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model file.
    #[error(transparent)]
    ModelFile(#[from] ModelFileError),
    /// A tokenizer or chat template.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A cache policy.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The memory plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Weights that did not reach the device.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A model that was not converted.
    #[cfg(not(target_arch = "wasm32"))]
    #[error(transparent)]
    Convert(#[from] crate::convert::ConvertError),
    /// A model whose record of its policy cannot be read.
    #[error("{file}: field \"killick_policy\": {reason}")]
    RecordedPolicy {
        /// Name of the file or folder.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What a model is measured by.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Nothing to continue from.
    #[error("the prompt holds no token")]
    EmptyPrompt,
    /// A token the model does not know.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    TokenOutsideVocab {
        /// The id.
        id: u32,
        /// Tokens the model knows.
        vocab_size: u32,
    },
    /// The model produced infinities or not-a-numbers, so its weights are broken or 16 bits too few.
    #[error("the logits after position {pos} are not finite; the weights are broken, or need dtype f32")]
    NonFiniteLogits {
        /// Position of the token whose successor was asked for.
        pos: u32,
    },
    /// Decode steps that the device was asked for and did not make, although it reported no error.
    #[error(
        "the device handed out {found} tokens, its decode steps make {expected}; its driver must have given up a submit"
    )]
    LostSteps {
        /// Tokens after as many steps.
        expected: u32,
        /// Tokens that the device counts.
        found: u32,
    },
    /// A fork onto a session that is made otherwise.
    #[error("a session can only take over the text of one with the same model, policy and options")]
    ForkMismatch,
    /// A sampler setting out of range.
    #[error("{field} is {value}, it must be {need}")]
    Sampler {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        need: String,
    },
}

impl Error {
    /// Whether the device is at fault (not there, lost, out of memory) rather than the input.
    pub fn is_device(&self) -> bool {
        let gpu = match self {
            Self::LostSteps { .. } => return true,
            Self::Gpu(error) | Self::Load(LoadError::Gpu(error)) => error,
            _ => return false,
        };
        matches!(
            gpu,
            GpuError::NoAdapter
                | GpuError::NoDevice { .. }
                | GpuError::Lost { .. }
                | GpuError::Allocation { .. }
                | GpuError::Device { .. }
        )
    }
}
