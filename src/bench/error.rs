//! Why something is not measured, or a report not read.

use crate::generate::{GenerateError, StopReason};
use crate::gpu::GpuError;
use crate::kv::KvError;
use crate::model_file::ModelFileError;
use crate::session::SessionError;

/// What can go wrong with a benchmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The device.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A session that reads for it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A text that is to be continued.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The cache policy.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A made-up model.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// A text that ended before the tokens that were to be timed were made.
    #[error(
        "{test}: the text ended after {made} of {wanted} tokens ({reason:?}), so there is nothing to time"
    )]
    Ended {
        /// Name of the test.
        test: String,
        /// Tokens made.
        made: usize,
        /// Tokens asked for.
        wanted: u32,
        /// Why.
        reason: Option<StopReason>,
    },
    /// A setting that makes no sense.
    #[error("{field} is {value}, it must be {need}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        need: String,
    },
    /// A file that is no JSON, or holds no rows.
    #[error("{file}: {problem}")]
    NotRows {
        /// Name of the file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field of a row that is not what it must be.
    #[error("{file}, row {row}: field {field:?} is {found}, it must be {need}")]
    Field {
        /// Name of the file.
        file: String,
        /// The row, from 1.
        row: usize,
        /// The field.
        field: &'static str,
        /// Its value, cut at 64 characters, or that it is missing.
        found: String,
        /// What it must be.
        need: String,
    },
}

impl BenchError {
    /// Whether the device is at fault rather than the input.
    pub fn is_device(&self) -> bool {
        match self {
            Self::Gpu(error) => error.is_device(),
            Self::Session(error) => error.is_device(),
            Self::Generate(error) => error.is_device(),
            _ => false,
        }
    }
}
