//! What an anchor stands for: reads a text and lists the entries that are left of it.
//!
//! `cargo run --release --example anchors -- model.gguf "First sentence. Second sentence. Third."`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use killick::{Engine, GpuOptions, LoadOptions, PolicyOptions, Preset, Session, SessionOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(text)) = (args.next(), args.next()) else {
        return Err("usage: anchors MODEL TEXT".into());
    };
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(path, LoadOptions::default())?;
    let tokenizer = loaded.tokenizer()?;
    // Full stops are anchors, unless the model records others.
    let options = PolicyOptions { preset: Some(Preset::Anchor), ..PolicyOptions::default() };
    let policy = loaded.policy(&options)?.policy;
    let mut session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
    killick::block_on(session.append(&tokenizer.encode_for(&text, true, &policy)?))?;

    for anchor in session.anchors() {
        let ids: Vec<u32> = session.tokens(anchor.start..anchor.pos + 1).collect();
        println!(
            "one entry, at {:>3}, for the {:>2} tokens of {:?}",
            anchor.pos,
            ids.len(),
            tokenizer.decode(&ids, true)?
        );
    }
    let kv = session.kv();
    println!("{} entries are live of {} tokens seen", kv.live, kv.seen);
    Ok(())
}
