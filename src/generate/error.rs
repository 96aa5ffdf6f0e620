//! Why a text is not continued.

use crate::gpu::GpuError;
use crate::model::PlanError;
use crate::sampling::SamplingError;
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// What can go wrong while a text is continued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A setting of the sampler.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A stop string.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A grammar that no text can be held to, or one that leaves no token.
    #[error("the grammar cannot be followed: {reason}")]
    Grammar {
        /// Why not.
        reason: String,
    },
    /// A text that is held to a grammar goes on one step at a time, which the others would wait for.
    #[error("a text that is held to a grammar cannot go on together with others")]
    GrammarTogether,
    /// A generation that was polled with another session than its own, or after its session had gone on without it.
    #[error("the generation is not the last thing that was begun on this session, so it cannot go on")]
    NotItsTurn,
    /// Sessions that cannot share a step.
    #[error("texts that go on together must lie in one pool")]
    NotTogether,
    /// Texts of a pool that go on together already.
    #[error("other texts of this pool go on together just now; wait for them, or use another pool")]
    PoolBusy,
    /// A decode loop that ended for a reason that there is none of.
    #[error(
        "the device ended the decode loop for a reason {code}, which there is none of; what it handed out cannot be trusted"
    )]
    UnknownStop {
        /// What it said.
        code: u32,
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
}

impl GenerateError {
    /// Whether the device is at fault rather than the input.
    pub fn is_device(&self) -> bool {
        match self {
            Self::LostSteps { .. } | Self::UnknownStop { .. } => true,
            Self::Session(error) => error.is_device(),
            _ => false,
        }
    }
}

impl From<GpuError> for GenerateError {
    fn from(error: GpuError) -> Self {
        Self::Session(error.into())
    }
}

impl From<PlanError> for GenerateError {
    fn from(error: PlanError) -> Self {
        Self::Session(error.into())
    }
}
