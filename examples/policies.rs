//! The same text under two policies, side by side: what each remembers, and what forgetting costs.
//!
//! `cargo run --release --example policies -- model.gguf "First sentence. Second sentence. Third."`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use killick::score::{Path, score};
use killick::{Engine, GpuOptions, LoadOptions, PolicySpec, Preset};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: policies MODEL TEXT".into());
    };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;
    let ids = tokenizer.encode(&text, true)?;

    let stops = tokenizer.ids_of_bytes(b".");
    let remember_all = PolicySpec::new(Preset::Full);
    // Four pinned tokens help a model that was not trained with anchors.
    let remember_sentences =
        PolicySpec { anchors: Some(stops), sinks: Some(4), ..PolicySpec::new(Preset::Anchor) };

    println!("{:<10} {:>12} {:>14} {:>14}", "policy", "nats/token", "entries live", "at most");
    for spec in [remember_all, remember_sentences] {
        let policy = spec.resolve(loaded.model.config())?;
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
