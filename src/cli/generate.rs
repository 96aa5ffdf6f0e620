//! `killick generate`: a prompt in, a stream of text out.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;
use web_time::Instant;

use super::args::GenerateArgs;
use super::{load, print_json};
use crate::error::Error;
use crate::generate::{GenerateOptions, StopReason};
use crate::gpu::AdapterDescription;
use crate::model_file::ModelFile;
use crate::sampling::SamplerOptions;
use crate::session::{KvReport, Session, SessionOptions};
use crate::tokenizer::{ChatTemplate, Message, Tokenizer};

#[derive(Serialize)]
struct Report<'a> {
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    text: &'a str,
    stop_reason: StopReason,
    kv: KvReport,
    timing: Timing,
    adapter: &'a AdapterDescription,
}

#[derive(Serialize, Clone, Copy)]
struct Timing {
    load_ms: f64,
    prefill_ms: f64,
    decode_ms: f64,
    prefill_tps: f64,
    decode_tps: f64,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    // A setting out of range is said before a model is loaded.
    SamplerOptions { temperature: args.temperature, ..SamplerOptions::default() }.validate(u32::MAX)?;
    let file = load::open_file(&args.model)?;
    let tokenizer = load::need_tokenizer(&file)?;
    let text = match args.prompt.as_deref() {
        None | Some("-") => load::read_text(None)?,
        Some(text) => text.to_owned(),
    };
    let (prompt_ids, pinned) = prompt_ids(args, &file, &tokenizer, &text)?;
    let policy = load::policy(&args.policy, &file, Some(&tokenizer), pinned)?;
    load::check_text(&file, &policy, &prompt_ids)?;
    let gpu = load::open_gpu(&args.gpu)?;
    let model = load::load_model(&gpu, &file, &args.model)?;
    let mut session = pollster::block_on(Session::new(&model, &policy, SessionOptions::default()))?;
    let load_ms = millis(started);

    let prefill_started = Instant::now();
    session.append(&prompt_ids)?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        seed: args.seed,
        ignore_eos: args.ignore_eos,
    };
    let mut generation = session.generate(options)?;
    let mut stream = tokenizer.decode_stream();
    let (mut ids, mut written) = (Vec::new(), String::new());
    let (mut prefill_ms, mut decode_started) = (0.0, Instant::now());
    while let Some(id) = pollster::block_on(generation.next_token())? {
        if ids.is_empty() {
            // The first token is made of the prompt's last hidden state; it ends the prefill.
            prefill_ms = millis(prefill_started);
            decode_started = Instant::now();
        }
        ids.push(id);
        emit(&stream.push(id), &mut written, args.json)?;
    }
    emit(&stream.finish(), &mut written, args.json)?;
    let decode_ms = millis(decode_started);
    let stop_reason = generation.stop_reason().unwrap_or(StopReason::MaxTokens);

    let timing = Timing {
        load_ms,
        prefill_ms,
        decode_ms,
        prefill_tps: per_second(prompt_ids.len(), prefill_ms),
        decode_tps: per_second(ids.len().saturating_sub(1), decode_ms),
    };
    if args.json {
        print_json(&Report {
            prompt_ids: &prompt_ids,
            ids: &ids,
            text: &written,
            stop_reason,
            kv: session.kv(),
            timing,
            adapter: gpu.adapter(),
        })?;
    } else {
        writeln!(std::io::stdout())?;
    }
    if args.stats {
        let planned = model.allocated_bytes() + session.allocated_bytes();
        print_stats(&session.kv(), timing, gpu.adapter(), planned, &ids)?;
    }
    Ok(())
}

/// The prompt as ids, and how many of them `--pin system` keeps; `None` where there is nothing to pin.
fn prompt_ids(
    args: &GenerateArgs,
    file: &ModelFile,
    tokenizer: &Tokenizer,
    text: &str,
) -> anyhow::Result<(Vec<u32>, Option<u32>)> {
    if !args.chat {
        return Ok((tokenizer.encode(text, true)?, None));
    }
    let source = file.chat_template().with_context(|| format!("{} has no chat template", file.label()))?;
    let template = ChatTemplate::new(source).map_err(Error::from)?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.decode(&[id], false).ok());
    let (bos, eos) = (name(tokenizer.bos()), name(tokenizer.eos()));
    let render =
        |messages: &[Message], open: bool| template.render(messages, open, bos.as_deref(), eos.as_deref());
    let system: Vec<Message> = args.system.iter().map(|text| Message::new("system", text)).collect();
    let mut messages = system.clone();
    messages.push(Message::new("user", text));
    let whole = render(&messages, true)?;
    let ids = tokenizer.encode(&whole, false)?;
    if args.policy.pin.is_none() {
        return Ok((ids, None));
    }
    // What the prompt has in common with the same prompt for another user is the system part.
    let mut other = system;
    other.push(Message::new("user", format!("\u{1}{text}")));
    let other_ids = tokenizer.encode(&render(&other, true)?, false)?;
    let system_len = ids.iter().zip(&other_ids).take_while(|(a, b)| a == b).count();
    Ok((ids, Some(u32::try_from(system_len).unwrap_or(u32::MAX))))
}

/// Streams a piece of text, unless it is kept for JSON. A terminal gets no control characters from a model.
fn emit(piece: &str, written: &mut String, json: bool) -> anyhow::Result<()> {
    written.push_str(piece);
    if json || piece.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if std::io::IsTerminal::is_terminal(&out) {
        let safe: String = piece.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        out.write_all(safe.as_bytes())?;
    } else {
        out.write_all(piece.as_bytes())?;
    }
    Ok(out.flush()?)
}

fn print_stats(
    kv: &KvReport,
    timing: Timing,
    adapter: &AdapterDescription,
    planned: u64,
    ids: &[u32],
) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    writeln!(err, "ids       {}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
    writeln!(err, "adapter   {} ({}, {})", adapter.name, adapter.backend, adapter.device_type)?;
    writeln!(
        err,
        "speed     prefill {:.1} tokens/s, decode {:.1} tokens/s, load {:.1} s",
        timing.prefill_tps,
        timing.decode_tps,
        timing.load_ms / 1000.0
    )?;
    let share = f64::from(kv.live) / f64::from(kv.seen.max(1));
    writeln!(
        err,
        "cache     {} seen, {} live ({:.0} %), {} at most; {} anchors ({} forced, {} dropped), {} segments closed",
        kv.seen,
        kv.live,
        100.0 * share,
        kv.peak_live,
        kv.anchors,
        kv.forced_anchors,
        kv.dropped_anchors,
        kv.segments
    )?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    writeln!(
        err,
        "memory    kv {:.1} MiB live of {:.1} MiB allocated; {:.1} MiB on the device in all, planned before the first token",
        mib(kv.bytes_live),
        mib(kv.bytes_allocated),
        mib(planned)
    )?;
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn per_second(n: usize, ms: f64) -> f64 {
    if ms > 0.0 { n as f64 * 1000.0 / ms } else { 0.0 }
}
