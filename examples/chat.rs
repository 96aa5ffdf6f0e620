//! A conversation on one live ring, from lines on standard input.
//!
//! `cargo run --release --example chat -- model.gguf`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::io::{BufRead, Write};

use killick::tokenizer::StopStrings;
use killick::{
    Chat, Engine, GenerateOptions, GpuOptions, LoadOptions, PolicyOptions, Preset, SamplerOptions, Session,
    SessionOptions,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(path) = std::env::args().nth(1) else { return Err("usage: chat MODEL".into()) };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;
    let turns = loaded.turns()?;

    // Separators and a window: a policy that stock models bear.
    let options = PolicyOptions { preset: Some(Preset::SepLlm), ..PolicyOptions::default() };
    let policy = loaded.policy(&options)?.policy;
    let session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
    let mut chat = Chat::new(session, tokenizer, turns, Some("You are a helpful assistant.".to_owned()))?;

    let sampler = SamplerOptions { temperature: 0.7, top_p: 0.95, ..SamplerOptions::default() };
    let options = GenerateOptions { sampler, ..GenerateOptions::default() };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let answer = chat.say(&line, options.clone(), StopStrings::new(Vec::new())?);
        for piece in killick::block_on(answer)? {
            print!("{}", piece?.text);
            std::io::stdout().flush()?;
        }
        let kv = chat.session().kv();
        println!("\n[{} of {} tokens live]", kv.live, kv.seen);
    }
    Ok(())
}
