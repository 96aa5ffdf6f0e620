//! Killick: a portable GPU engine for language models that remember through anchors.
//!
//! A killick is a small anchor. Text is split into segments (sentences), each closed by an *anchor* token; once a segment
//! is closed only the anchor's keys and values stay in the cache ("Anchor-based Large Language Models", Pang et al., 2024).
//! Device memory is known before the first token, whatever the length of the text, and the result is exactly that of the
//! masked model: the ring of anchors is an optimization, never an approximation.
//!
//! ```no_run
//! use killick::{Engine, GenerateOptions, GpuOptions, LoadOptions, PolicyOptions, Preset, Session, SessionOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(&GpuOptions::default())?;
//! let loaded = engine.load("model.gguf", LoadOptions::default())?;
//! let tokenizer = loaded.tokenizer()?;
//!
//! // What is left out of the options is as recorded with the model, or a default.
//! let options = PolicyOptions { preset: Some(Preset::Anchor), ..PolicyOptions::default() };
//! let policy = loaded.policy(&options)?.policy;
//!
//! let mut session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
//! killick::block_on(session.append(&tokenizer.encode_for("The capital of France is", true, &policy)?))?;
//! let mut text = tokenizer.decode_stream();
//! for token in session.generate(GenerateOptions::default())? {
//!     print!("{}", text.push(token?.id));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Engine::load_embedded`] takes no file: a small anchor model, trained from scratch, is a part of this library, and of every program
//! that asks for it.
//!
//! The rooms, in the order data flows through them (`ARCHITECTURE.md` follows one token):
//! [`model_file`], [`tokenizer`], [`kv`], [`policy_options`], [`sampling`], [`gpu`], [`kernels`] with [`reference`](mod@reference), [`model`], [`session`],
//! [`generate`], [`score`], [`eval`] and [`bench`](mod@bench).
//!
//! Features: `cli` (default) builds the `killick` program, and with it comes `convert`, which writes a model file in another form.

#[cfg(all(feature = "convert", target_arch = "wasm32"))]
compile_error!(
    "the feature `convert` writes files, which WebAssembly cannot; build with default-features = false"
);

pub mod bench;
pub mod chat;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "convert")]
pub mod convert;
mod engine;
mod error;
pub mod eval;
pub mod generate;
pub mod gpu;
pub mod kernels;
pub mod kv;
pub mod model;
pub mod model_file;
pub mod policy_options;
pub mod reference;
pub mod sampling;
pub mod score;
pub mod session;
pub mod tokenizer;

pub use chat::{Answer, Chat};
pub use engine::{Engine, LoadOptions, Loaded, Opened};
pub use error::Error;
pub use generate::{
    Batch, BatchEvent, Continued, GenerateOptions, Generation, Logprobs, Piece, Pieces, Refused, Steps,
    StopReason, TextGeneration, TextId, Token, Tokens, generate_together,
};
pub use gpu::{Gpu, GpuOptions};
pub use kernels::KvFormat;
pub use kv::{Policy, PolicySpec, Preset};
pub use model::Model;
pub use model_file::ModelFile;
pub use policy_options::PolicyOptions;
pub use sampling::{Sampler, SamplerOptions};
pub use session::{KvReport, Pool, Session, SessionOptions};
pub use tokenizer::Tokenizer;

/// Runs a future to its end on this thread. In the browser, await it instead.
#[cfg(not(target_arch = "wasm32"))]
pub use pollster::block_on;

#[cfg(test)]
mod tests {
    use super::{
        Answer, Batch, Chat, Generation, Loaded, Model, Opened, Pieces, Pool, Session, TextGeneration,
        Tokenizer, Tokens,
    };

    /// A worker, a server's task or an object of another language may hold them.
    #[test]
    fn what_a_program_holds_can_move_to_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Opened>();
        is_send::<Loaded>();
        is_send::<Model>();
        is_send::<Tokenizer>();
        is_send::<Session>();
        is_send::<Generation>();
        is_send::<TextGeneration>();
        is_send::<Tokens<'_>>();
        is_send::<Pieces<'_>>();
        is_send::<Answer<'_>>();
        is_send::<Pool>();
        is_send::<Batch>();
        is_send::<Chat>();
    }
}
