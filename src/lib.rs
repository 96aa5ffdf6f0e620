//! Killick: a portable GPU engine for language models that remember through anchors.
pub mod error;
pub mod generate;
pub mod gpu;
pub mod kernels;
pub mod kv;
pub mod model;
pub mod model_file;
pub mod sampling;
pub mod score;
pub mod session;
pub mod tokenizer;
pub use error::Error;
#[cfg(feature = "cli")]
pub mod cli;
