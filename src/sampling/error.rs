//! What a sampler cannot be asked for.

/// A setting that no sampler has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// A setting out of range.
    #[error("{field} is {value}, it must be {need}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        need: String,
    },
}
