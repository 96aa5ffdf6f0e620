//! The same text under two policies, side by side: what each remembers, and what forgetting costs.
//!
//! `cargo run --release --example policies -- model.gguf "First sentence. Second sentence. Third."`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use killick::policy_options::Sinks;
use killick::score::{Path, score};
use killick::{Engine, GpuOptions, LoadOptions, PolicyOptions, Preset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: policies MODEL TEXT".into());
    };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;
    let ids = tokenizer.encode(&text, true)?;

    let remember_all = PolicyOptions { preset: Some(Preset::Full), ..PolicyOptions::default() };
    // Four pinned tokens help a model that was not trained with anchors.
    let remember_sentences = PolicyOptions {
        preset: Some(Preset::Anchor),
        anchors: vec![".".to_owned()],
        sinks: Some(Sinks::Tokens(4)),
        ..PolicyOptions::default()
    };

    println!("{:<10} {:>12} {:>14} {:>14}", "policy", "nats/token", "entries live", "at most");
    for options in [remember_all, remember_sentences] {
        let policy = loaded.policy(&options)?.policy;
        let result = killick::block_on(score(&loaded.model, &policy, &ids, Path::Chunk(64)))?;
        println!(
            "{:<10} {:>12.4} {:>14} {:>14}",
            policy.preset.name(),
            result.mean_nll(),
            result.kv.live,
            result.kv.peak_live
        );
    }
    Ok(())
}
