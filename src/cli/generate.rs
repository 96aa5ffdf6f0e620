//! `killick generate`: a prompt in, a stream of text out.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;
use web_time::Instant;

use super::args::{GenerateArgs, Seed};
use super::reading::{PIECE, Reading};
use super::voice::Voice;
use super::{interrupt, load, print_json, prompt, wording};
use crate::engine::Opened;
use crate::error::Error;
use crate::generate::{GenerateOptions, Grammar, Logprobs, StopReason};
use crate::gpu::AdapterDescription;
use crate::kv::Policy;
use crate::sampling::SamplerOptions;
use crate::session::{KvReport, Session};
use crate::tokenizer::{StopStrings, Tokenizer, Turns};

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    /// What was said; what was thought before is `reasoning`.
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a Vec<Option<Logprobs>>>,
    stop_reason: StopReason,
    seed: u64,
    kv: KvReport,
    timing: Timing,
    adapter: &'a AdapterDescription,
}

#[derive(Serialize, Clone, Copy)]
struct Timing {
    load_ms: f64,
    prefill_ms: f64,
    decode_ms: f64,
    /// `null` where no token took any time.
    prefill_tps: Option<f64>,
    decode_tps: Option<f64>,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let opened = load::open(&args.model)?;
    // What is wrong with a setting is said before a model is loaded.
    let mut sampler = args.sampler.options(opened.sampler(SamplerOptions::default()), Seed::Number(0));
    sampler.logprobs = args.logprobs;
    sampler.validate(opened.file.config.vocab_size)?;
    let stops = StopStrings::new(args.stop.stop.clone()).map_err(Error::from)?;
    let tokenizer = opened.tokenizer()?;
    let takes_input = args.json_schema.as_deref().is_some_and(load::is_standard_input);
    let text = prompt::text(args.prompt.as_deref(), takes_input)?;
    let turns = args.chat.then(|| load::turns(&opened, &args.template)).transpose()?;
    let (prompt_ids, policy) = tokens(args, &opened, turns.as_ref(), &text)?;
    let mut marks = None;
    if let Some(turns) = &turns {
        sampler.unpenalized = turns.structure(&tokenizer, &policy);
        // A text that is held to a form has no room for a thought.
        let is_free = !args.json_object && args.json_schema.is_none();
        marks = turns.reasoning(&tokenizer).filter(|_| is_free);
    }
    let opens = turns.as_ref().zip(marks.as_ref()).map(|(turns, marks)| turns.opens_thought(marks));
    let opens_thought = opens.transpose().map_err(Error::from)?.unwrap_or(false);
    let mut voice = Voice::new(marks.as_ref().map(|marks| (marks, opens_thought)), args.template.reasoning());
    opened.check(&policy, &prompt_ids)?;
    let grammar = grammar(args, &opened, &tokenizer)?;
    let engine = load::open_device(&args.gpu)?;
    let loaded = load::load(&engine, opened, &args.model, &args.gpu)?;
    load::name_embedded(&args.model, args.json);
    let mut session = pollster::block_on(Session::new(&loaded.model, &policy, args.policy.session()))?;
    let load_ms = millis(started);

    let prefill_started = Instant::now();
    let _busy = interrupt::busy();
    if !pollster::block_on(read(&mut session, &prompt_ids))? {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let (seed, drawn_by) = (sampler.seed, wording::sampler(&sampler));
    let options = GenerateOptions { grammar, ..args.stop.options(args.max_tokens, sampler) };
    let mut generation = session.generate_text(&tokenizer, options, stops)?;
    let (mut ids, mut logprobs) = (Vec::new(), Vec::new());
    let (mut prefill_ms, mut decode_started) = (0.0, Instant::now());
    while let Some(piece) = pollster::block_on(generation.next_piece())? {
        if ids.is_empty() {
            // The first token is made of the prompt's last hidden state; it ends the prefill.
            prefill_ms = millis(prefill_started);
            decode_started = Instant::now();
        }
        voice.take(&piece, args.json)?;
        if let Some(token) = piece.token {
            ids.push(token.id);
            logprobs.push(token.logprobs);
        }
        if interrupt::asked() {
            generation.cancel();
        }
    }
    voice.finish(args.json)?;
    let (written, reasoning) = voice.words();
    let decode_ms = millis(decode_started);
    let stop_reason = generation.stop_reason().unwrap_or(StopReason::MaxTokens);
    drop(generation);

    let timing = Timing {
        load_ms,
        prefill_ms,
        decode_ms,
        prefill_tps: per_second(prompt_ids.len(), prefill_ms),
        decode_tps: per_second(ids.len().saturating_sub(1), decode_ms),
    };
    if args.json {
        print_json(&Report {
            model: loaded.model.label(),
            prompt_ids: &prompt_ids,
            ids: &ids,
            text: &written,
            reasoning: reasoning.as_deref(),
            logprobs: (args.logprobs > 0).then_some(&logprobs),
            stop_reason,
            seed,
            kv: session.kv(),
            timing,
            adapter: engine.gpu().adapter(),
        })?;
    } else {
        writeln!(std::io::stdout())?;
    }
    if args.stats {
        let planned = loaded.model.allocated_bytes() + session.allocated_bytes();
        print_stats(&session.kv(), timing, engine.gpu().adapter(), planned, &ids, &drawn_by)?;
    }
    let cancelled = stop_reason == StopReason::Cancelled;
    Ok(if cancelled { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
}

/// What the text is held to.
fn grammar(args: &GenerateArgs, model: &Opened, tokenizer: &Tokenizer) -> anyhow::Result<Option<Grammar>> {
    let config = &model.file.config;
    if args.json_object {
        return Ok(Some(Grammar::json_object(tokenizer, config)?));
    }
    let Some(file) = &args.json_schema else { return Ok(None) };
    let name = load::name_of(file);
    let schema =
        serde_json::from_str(&load::read_text(file)?).with_context(|| format!("{name} is no JSON"))?;
    Ok(Some(Grammar::json_schema(tokenizer, config, schema).with_context(|| name)?))
}

/// Reads the prompt, under a bar where it takes long; false if Ctrl-C broke it off.
async fn read(session: &mut Session, ids: &[u32]) -> Result<bool, Error> {
    let mut reading = Reading::new(ids.len(), "ends");
    for piece in ids.chunks(PIECE) {
        if !reading.goes_on(piece) {
            return Ok(false);
        }
        session.append(piece).await?;
        session.model().gpu().idle().await?;
    }
    Ok(!interrupt::asked())
}

/// The prompt as ids, and the policy it is read under.
fn tokens(
    args: &GenerateArgs,
    model: &Opened,
    turns: Option<&Turns>,
    text: &str,
) -> anyhow::Result<(Vec<u32>, Policy)> {
    let tokenizer = model.tokenizer()?;
    let Some(turns) = turns else {
        if let Some(flag) = args.template.given() {
            bail!("{flag} needs --chat: without it no chat template is used");
        }
        let policy = load::policy(model, &args.policy.options()?)?;
        let ids = tokenizer.encode_for(text, true, &policy)?;
        return Ok((ids, policy));
    };
    let system = args.system.as_deref();
    let policy = load::policy(model, &args.policy.chat_options(system, args.template.arguments()))?;
    let ids = turns.first_ids(&tokenizer, system, text, &policy)?;
    Ok((ids, policy))
}

fn print_stats(
    kv: &KvReport,
    timing: Timing,
    adapter: &AdapterDescription,
    planned: u64,
    ids: &[u32],
    sampler: &str,
) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    writeln!(err, "ids       {}", ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "))?;
    writeln!(err, "sampler   {sampler}")?;
    writeln!(err, "adapter   {} ({}, {})", adapter.name, adapter.backend, adapter.device_type)?;
    writeln!(err, "driver    {}", format!("{} {}", adapter.driver, adapter.driver_info).trim())?;
    let speed = |tps: Option<f64>| tps.map_or_else(|| "-".to_owned(), |tps| format!("{tps:.1}"));
    writeln!(
        err,
        "speed     prefill {} tokens/s, decode {} tokens/s, load {:.1} s",
        speed(timing.prefill_tps),
        speed(timing.decode_tps),
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
        "memory    kv {:.1} MiB live of {:.1} MiB allocated, in {}; {:.1} MiB on the device in all, planned before the first token",
        mib(kv.bytes_live),
        mib(kv.bytes_allocated),
        kv.format.name(),
        mib(planned)
    )?;
    Ok(())
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// The speed of nothing is none.
fn per_second(n: usize, ms: f64) -> Option<f64> {
    (n > 0 && ms > 0.0).then(|| n as f64 * 1000.0 / ms)
}
