//! `killick chat`: several turns on one live ring.
//!
//! ```text
//! mod.rs      the loop: a line in, a command or an answer out
//! command.rs  lines that begin with a slash
//! screen.rs   what the terminal shows: prompt, colours, line editing
//! ```

mod command;
mod screen;

use std::io::{IsTerminal, Write};

use web_time::Instant;

use super::args::ChatArgs;
use super::{interrupt, load, show};
use crate::chat::Chat;
use crate::error::Error;
use crate::generate::{GenerateOptions, StopReason};
use crate::kv::KvError;
use crate::session::Session;
use crate::tokenizer::StopStrings;
use command::Command;
use screen::{Line, Screen};

/// How the last answer went, for the prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    tokens_per_second: f64,
}

pub(super) fn run(args: &ChatArgs) -> anyhow::Result<()> {
    let opened = load::open(&args.model)?;
    let sampler = args.sampler.options(0.7, 0.95);
    sampler.validate(opened.file.config.vocab_size)?;
    let stops = StopStrings::new(args.stop.stop.clone()).map_err(Error::from)?;
    let tokenizer = opened.tokenizer()?;
    let turns = load::turns(&opened, &args.template)?;
    // A template that cannot be continued is refused now, not at the second turn.
    turns.next(args.system.as_deref(), "?").map_err(Error::from)?;
    let options = args.policy.chat_options(args.system.as_deref(), args.template.arguments());
    let policy = load::policy(&opened, &options)?;
    let engine = load::open_device(&args.gpu)?;
    let model = load::load(&engine, opened, &args.model)?.model;
    let session = pollster::block_on(Session::new(&model, &policy, args.policy.session()))?;
    let mut chat = Chat::new(session, tokenizer, turns, args.system.clone())?;
    let options = args.stop.options(args.max_tokens, sampler);

    let mut screen = Screen::new()?;
    screen.note(&format!(
        "{} on {}, policy {}. /help lists the commands.",
        model.label(),
        engine.gpu().adapter().name,
        policy.preset
    ))?;
    let result = converse(&mut chat, &options, &stops, &mut screen);
    screen.close();
    result
}

/// Line by line, until the user ends it.
fn converse(
    chat: &mut Chat,
    options: &GenerateOptions,
    stops: &StopStrings,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut pulse = Pulse::default();
    loop {
        let line = match screen.read(chat, pulse)? {
            Line::Text(line) => line,
            Line::Interrupted => continue,
            Line::End => return Ok(()),
        };
        if line.trim().is_empty() {
            continue;
        }
        match Command::parse(&line) {
            Some(Ok(Command::Quit)) => return Ok(()),
            Some(Ok(command)) => command::run(command, chat, screen)?,
            Some(Err(message)) => screen.warn(&message)?,
            None => {
                if let Some(new) = answer(chat, Command::text(&line), options, stops, screen)? {
                    pulse = new;
                }
            }
        }
    }
}

/// Asks and streams the answer. What cannot be asked is said, and the conversation goes on as it was; only the device's errors end it.
fn answer(
    chat: &mut Chat,
    line: &str,
    options: &GenerateOptions,
    stops: &StopStrings,
    screen: &mut Screen,
) -> anyhow::Result<Option<Pulse>> {
    let _busy = interrupt::busy();
    let mut generation = match pollster::block_on(chat.say(line, options.clone(), stops.clone())) {
        Ok(generation) => generation,
        Err(error) if error.is_device() => return Err(error.into()),
        Err(error @ Error::Kv(KvError::PositionLimit { .. } | KvError::SegmentTooLong { .. })) => {
            screen.warn(&format!("{error}; /undo, /reset or a policy with bounded memory make room"))?;
            return Ok(None);
        }
        Err(error) => {
            screen.warn(&error.to_string())?;
            return Ok(None);
        }
    };
    let started = Instant::now();
    let (mut tokens, mut ends_line) = (0_u32, true);
    loop {
        let piece = match pollster::block_on(generation.next_piece()) {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) if error.is_device() => return Err(error.into()),
            Err(error) => {
                screen.warn(&error.to_string())?;
                break;
            }
        };
        tokens += u32::from(piece.token.is_some());
        if !piece.text.is_empty() {
            ends_line = piece.text.ends_with('\n');
        }
        show(&piece.text)?;
        if interrupt::asked() {
            generation.cancel();
        }
    }
    let reason = generation.stop_reason();
    drop(generation);
    if !ends_line || !std::io::stdout().is_terminal() {
        writeln!(std::io::stdout())?;
    }
    match reason {
        Some(StopReason::Cancelled) => screen.note("(interrupted; what was said is remembered)")?,
        Some(StopReason::MaxTokens) => screen.note("(cut at --max-tokens)")?,
        Some(StopReason::ContextFull | StopReason::PositionLimit) => {
            screen.warn("the context is full: /undo, /reset, or a policy with bounded memory")?;
        }
        Some(StopReason::SegmentLimit) => {
            screen.warn("the sentence is too long for --at-max-segment error: /undo, /reset, or a larger --max-segment")?;
        }
        Some(StopReason::Eos | StopReason::Stop) | None => {}
    }
    Ok(Some(Pulse { tokens_per_second: f64::from(tokens) / started.elapsed().as_secs_f64().max(1e-9) }))
}
