//! Draws the pictures of `docs/anchors.md` from runs of a model with a recorded anchor policy: who sees whom in a short text, and the
//! live entries while a long one is read.
//!
//! `cargo run --release --example figures -- models/killick-4m TEXT_FILE docs/anchors`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use killick::eval::{Chart, Line};
use killick::kv::{Tags, mask};
use killick::{Engine, GpuOptions, LoadOptions, Loaded, Policy, PolicySpec, Preset, Session, SessionOptions};

/// What the mask is drawn for.
const SHORT: &str = "God said, \"Let there be light,\" and there was light. God saw the light, and saw that it was good. \
                     God divided the light from the darkness.";
/// Tokens of the long text, and tokens between two points of a line.
const LONG: usize = 4096;
const STEP: usize = 8;
/// Side of a cell of the mask.
const CELL: usize = 11;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, folder] = args.as_slice() else {
        return Err("usage: figures MODEL TEXT_FILE FOLDER".into());
    };
    let (text, folder) = (std::fs::read_to_string(text)?, Path::new(folder));
    std::fs::create_dir_all(folder)?;
    let engine = Engine::new(&GpuOptions::default())?;
    let loaded = engine.load(model, LoadOptions::default())?;
    let spec = loaded.recorded_policy()?.ok_or("the model records no policy")?;
    let anchor = spec.resolve(loaded.model.config())?;
    std::fs::write(folder.join("mask.svg"), draw_mask(&loaded, &anchor)?)?;
    std::fs::write(folder.join("cache.svg"), draw_cache(&loaded, &anchor, &text)?)?;
    println!("{}: mask.svg, cache.svg", folder.display());
    Ok(())
}

/// The ids of a text and its tokens' texts, spaces and line breaks made visible.
fn tokens(loaded: &Loaded, policy: &Policy, text: &str) -> Result<(Vec<u32>, Vec<String>), Box<dyn Error>> {
    let tokenizer = loaded.tokenizer()?;
    let ids = tokenizer.encode_for(text, true, policy)?;
    let names =
        ids.iter().map(|id| tokenizer.decode(&[*id], false).map(|name| name.replace('\n', "\u{21b5}")));
    let names = names.collect::<Result<_, _>>()?;
    Ok((ids, names))
}

/// A row for each token, a cell for each entry it reads: its own segment blue, anchors orange, what is gone by then grey.
fn draw_mask(loaded: &Loaded, policy: &Policy) -> Result<String, Box<dyn Error>> {
    let (ids, names) = tokens(loaded, policy, SHORT)?;
    let tags = Tags::of(policy, &ids);
    let (left, top) = (104, 92);
    let (width, height) = (left + CELL * ids.len() + 16, top + CELL * ids.len() + 40);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"9\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{left}\" y=\"20\" font-size=\"13\">What each token (row) reads of those before it (columns)</text>\n"
    );
    for (i, name) in names.iter().enumerate() {
        let name = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let (x, y) = (left + CELL * i, top + CELL * i);
        let colour = if tags.as_slice()[i].is_anchor == 1 { "#d55e00" } else { "#000000" };
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            left - 6,
            y + 9
        )?;
        writeln!(
            svg,
            "<text transform=\"translate({} {}) rotate(-60)\" fill=\"{colour}\">{name}</text>",
            x + 8,
            top - 6
        )?;
        for (j, key) in tags.as_slice()[..=i].iter().enumerate() {
            let seen = mask::visible(policy, &tags, i as u32, j as u32);
            let own = key.seg_start == tags.as_slice()[i].seg_start;
            let fill = match (seen, own) {
                (true, true) => "#0072b2",
                (true, false) => "#d55e00",
                (false, _) => "#e8e8e8",
            };
            let (x, side) = (left + CELL * j, CELL - 1);
            writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{fill}\"/>")?;
        }
    }
    let y = top + CELL * ids.len() + 24;
    for (x, fill, what) in [
        (left, "#0072b2", "its own segment"),
        (left + 120, "#d55e00", "anchors before it"),
        (left + 250, "#e8e8e8", "no longer kept, or hidden"),
    ] {
        writeln!(svg, "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{fill}\"/>", y - 9)?;
        writeln!(svg, "<text x=\"{}\" y=\"{y}\" font-size=\"11\">{what}</text>", x + 15)?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Live entries against tokens read, by policy; `full` ends where its memory does.
fn draw_cache(loaded: &Loaded, anchor: &Policy, text: &str) -> Result<String, Box<dyn Error>> {
    let (ids, _) = tokens(loaded, anchor, text)?;
    let ids = ids.get(..LONG).ok_or("the text is too short")?;
    let config = loaded.model.config();
    let mut lines = Vec::new();
    for (name, policy) in [
        ("full", PolicySpec::new(Preset::Full).resolve(config)?),
        ("anchor", anchor.clone()),
        (
            "streaming, 128",
            PolicySpec { window: Some(125), sinks: Some(4), ..PolicySpec::new(Preset::Streaming) }
                .resolve(config)?,
        ),
    ] {
        let mut session = killick::block_on(Session::new(&loaded.model, &policy, SessionOptions::default()))?;
        let mut points = Vec::new();
        for piece in ids.chunks(STEP) {
            if killick::block_on(session.append(piece)).is_err() {
                println!("{name}: the text ends at {} tokens", session.kv().seen);
                break;
            }
            points.push((f64::from(session.kv().seen), f64::from(session.kv().live)));
        }
        let kv = session.kv();
        println!(
            "{name}: {} tokens, {} live, {} at most, {} bytes allocated",
            kv.seen, kv.live, kv.peak_live, kv.bytes_allocated
        );
        lines.push(Line { name: name.to_owned(), points });
    }
    let chart = Chart {
        title: "Cache while a text is read".to_owned(),
        x: "tokens read".to_owned(),
        log_x: false,
        y: "live entries".to_owned(),
        from_zero: true,
        lines,
    };
    Ok(chart.svg())
}
