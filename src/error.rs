//! The error of the library's front door, which gathers those of the rooms behind it.

use crate::bench::BenchError;
use crate::eval::EvalError;
use crate::generate::GenerateError;
use crate::gpu::GpuError;
use crate::kv::KvError;
use crate::model::{LoadError, PlanError};
use crate::model_file::ModelFileError;
use crate::policy_options::PolicyError;
use crate::sampling::SamplingError;
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// Everything that can go wrong. A failure has one place here, whichever room reports it: a lost device is [`Error::Gpu`], be it a
/// session or a generation that meets it.
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
    /// A setting of the sampler.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// The memory plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Weights that did not reach the device, but for reasons of the file, the device or the plan.
    #[error(transparent)]
    Load(LoadError),
    /// A model that was not converted.
    #[cfg(feature = "convert")]
    #[error(transparent)]
    Convert(#[from] crate::convert::ConvertError),
    /// A policy that the model does not have, but for reasons of a field, the tokenizer or the chat template.
    #[error(transparent)]
    Policy(PolicyError),
    /// A text that cannot be read on.
    #[error(transparent)]
    Session(SessionError),
    /// A text that cannot be continued.
    #[error(transparent)]
    Generate(GenerateError),
    /// What a model is measured by.
    #[error(transparent)]
    Eval(EvalError),
    /// What cannot be timed, or a report that cannot be read.
    #[error(transparent)]
    Bench(BenchError),
}

impl Error {
    /// Whether the device is at fault (not there, lost, out of memory) rather than the input.
    pub fn is_device(&self) -> bool {
        match self {
            Self::Gpu(error) => error.is_device(),
            Self::Generate(error) => error.is_device(),
            _ => false,
        }
    }
}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        match error {
            PolicyError::Kv(error) => error.into(),
            PolicyError::Tokenizer(error) => error.into(),
            other => Self::Policy(other),
        }
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::File(error) => error.into(),
            LoadError::Gpu(error) => error.into(),
            LoadError::Plan(error) => error.into(),
            other => Self::Load(other),
        }
    }
}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Kv(error) => error.into(),
            SessionError::Gpu(error) => error.into(),
            SessionError::Plan(error) => error.into(),
            other => Self::Session(other),
        }
    }
}

impl From<GenerateError> for Error {
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Session(error) => error.into(),
            GenerateError::Sampling(error) => error.into(),
            GenerateError::Tokenizer(error) => error.into(),
            other => Self::Generate(other),
        }
    }
}

impl From<EvalError> for Error {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Session(error) => error.into(),
            EvalError::Tokenizer(error) => error.into(),
            EvalError::Kv(error) => error.into(),
            other => Self::Eval(other),
        }
    }
}

impl From<BenchError> for Error {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Gpu(error) => error.into(),
            BenchError::Session(error) => error.into(),
            BenchError::Generate(error) => error.into(),
            BenchError::Kv(error) => error.into(),
            BenchError::File(error) => error.into(),
            other => Self::Bench(other),
        }
    }
}
