//! A sampler of one's own: the logits come to the host, and any code may choose the token.
//!
//! This one never takes the likeliest token if the second is at least half as likely. It is slower than the sampler on the
//! device, which needs no logits on the host.
//!
//! `cargo run --release --example sampler -- model.gguf "Once upon a time"`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::io::Write;

use killick::{Engine, GpuOptions, LoadOptions, PolicyOptions, Preset, Session, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: sampler MODEL PROMPT".into());
    };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;
    let options = PolicyOptions { preset: Some(Preset::Streaming), ..PolicyOptions::default() };
    let policy = loaded.policy(&options)?.policy;
    let mut session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
    killick::block_on(session.append(&tokenizer.encode_for(&prompt, true, &policy)?))?;

    let mut text = tokenizer.decode_stream();
    print!("{prompt}");
    let mut logits = killick::block_on(session.next_logits())?;
    for _ in 0..32 {
        let id = contrary(&logits);
        print!("{}", text.push(id));
        std::io::stdout().flush()?;
        logits = killick::block_on(session.step_logits(id))?;
    }
    println!("{}", text.finish());
    Ok(())
}

/// The second likeliest token, unless it is less than half as likely as the first.
fn contrary(logits: &[f32]) -> u32 {
    let mut ranked: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    match ranked.as_slice() {
        [(_, first), (second_id, second), ..] if first - second < std::f32::consts::LN_2 => *second_id,
        [(first_id, _), ..] => *first_id,
        [] => 0,
    }
}
