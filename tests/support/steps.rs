//! A tiny model, a prompt, and every way to make decode steps.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::sync::Arc;

use killick::kernels::WeightFormat;
use killick::kv::PolicySpec;
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::session::{Pool, Session, SessionOptions};
use killick::{GenerateOptions, Steps};
use pollster::block_on;

use super::golden::data;
use super::gpu::gpu;

/// Steps that may be in flight.
pub const X: u32 = 32;

pub fn model() -> Arc<Model> {
    let file = ModelFile::open_path(&data("tiny/gqa")).unwrap();
    Arc::new(block_on(Model::load(gpu(), &file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

fn session_options() -> SessionOptions {
    SessionOptions { chunk: 16, in_flight: X, ..SessionOptions::default() }
}

pub fn session(model: &Arc<Model>, spec: &PolicySpec) -> Session {
    let policy = spec.resolve(model.config()).unwrap();
    block_on(Session::new(model, &policy, session_options())).unwrap()
}

pub fn pool(model: &Arc<Model>, spec: &PolicySpec, texts: u32) -> Arc<Pool> {
    let policy = spec.resolve(model.config()).unwrap();
    block_on(Pool::new(model, &policy, session_options(), texts)).unwrap()
}

pub fn prompt() -> Vec<u32> {
    (0..37_u32).map(|i| (i * 29 + 5) % 321).collect()
}

pub fn options(steps: Steps, max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, ignore_eos: true, steps, ..GenerateOptions::default() }
}

pub fn ids(session: &mut Session, options: GenerateOptions) -> Vec<u32> {
    session.generate(options).unwrap().map(|token| token.unwrap().id).collect()
}

pub fn modes() -> [Steps; 5] {
    [Steps::OnHost, Steps::Fixed(1), Steps::Fixed(4), Steps::Fixed(16), Steps::Auto]
}
