//! Loads a model, completes a prompt and says what it cost.
//!
//! `cargo run --release --example hello -- model.gguf "Once upon a time"`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::io::Write;

use killick::{Engine, GenerateOptions, GpuOptions, LoadOptions, PolicyOptions, Session, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: hello MODEL PROMPT".into());
    };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;

    // The policy recorded with the model, else `full`.
    let policy = loaded.policy(&PolicyOptions::default())?.policy;
    let mut session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
    killick::block_on(session.append(&tokenizer.encode_for(&prompt, true, &policy)?))?;

    let mut text = tokenizer.decode_stream();
    print!("{prompt}");
    for token in session.generate(GenerateOptions { max_tokens: 32, ..GenerateOptions::default() })? {
        print!("{}", text.push(token?.id));
        std::io::stdout().flush()?;
    }
    println!("{}", text.finish());

    let kv = session.kv();
    println!("{} tokens seen, {} entries live, {} bytes of cache", kv.seen, kv.live, kv.bytes_allocated);
    Ok(())
}
