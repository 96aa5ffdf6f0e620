//! What several test programs share: writers of model files and a tiny model.
//!
//! Each program uses a part of it, so unused items are no mistake here.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

pub mod bounds;
pub mod gguf_writer;
pub mod random;
pub mod safetensors_writer;
pub mod skip;
pub mod tiny_model;

pub use random::Random;
