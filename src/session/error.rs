//! Why a session does not go on.

use crate::gpu::GpuError;
use crate::kv::KvError;
use crate::model::PlanError;

/// What can go wrong with the text that a session holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The cache policy, or what it allows.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The memory plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
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
    #[error("the logits after position {pos} are not finite; the weights are broken{}", if *.exact { "" } else { ", or need f32 (dtype, kv)" })]
    NonFiniteLogits {
        /// Position of the token whose successor was asked for.
        pos: u32,
        /// Whether weights, keys and values are 32-bit floats already.
        exact: bool,
    },
    /// A text more than the pool has places for.
    #[error("the pool is full: it has places for {texts} texts, and as many sessions hold one")]
    PoolFull {
        /// Its places.
        texts: u32,
    },
    /// A fork onto a session that is made otherwise.
    #[error("a session can only take over the text of one with the same model, policy and options")]
    ForkMismatch,
}

impl SessionError {
    /// Whether the device is at fault rather than the input.
    pub fn is_device(&self) -> bool {
        matches!(self, Self::Gpu(error) if error.is_device())
    }
}
