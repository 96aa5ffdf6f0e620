//! `killick chat`: several turns on one live ring.
//!
//! ```text
//! mod.rs      the loop: a line in, a command or an answer out
//! command.rs  lines that begin with a slash
//! screen.rs   what the terminal shows: prompt, colours, line editing
//! lines.rs    lines of a pipe
//! ```

mod command;
mod lines;
mod screen;

use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use web_time::Instant;

use super::args::{ChatArgs, Seed};
use super::reading::{PIECE, Reading};
use super::voice::{ReasoningArg, Voice};
use super::{interrupt, load, message};
use crate::chat::Chat;
use crate::error::Error;
use crate::generate::{GenerateOptions, StopReason, TextGeneration};
use crate::kv::KvError;
use crate::sampling::SamplerOptions;
use crate::session::Session;
use crate::tokenizer::StopStrings;
use command::Command;
use screen::{Line, Screen};

/// How the last answer went, for the prompt.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    /// From the question to the first token.
    first: Duration,
    /// Of the tokens after it; `None` if there was none.
    tokens_per_second: Option<f64>,
}

/// What became of a question.
enum Asked {
    Answered(Pulse),
    /// Ctrl-C broke it off while it was read.
    TakenBack,
    /// It cannot be asked.
    Refused,
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(speed) = self.tokens_per_second {
            write!(f, "{speed:.1} tok/s, first after {:.1} s, ", self.first.as_secs_f64())?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &ChatArgs) -> anyhow::Result<()> {
    let opened = load::open(&args.model)?;
    let base = SamplerOptions { temperature: 0.7, top_p: 0.95, ..SamplerOptions::default() };
    let sampler = args.sampler.options(opened.sampler(base), Seed::Random);
    sampler.validate(opened.file.config.vocab_size)?;
    let stops = StopStrings::new(args.stop.stop.clone()).map_err(Error::from)?;
    let tokenizer = opened.tokenizer()?;
    let turns = load::turns(&opened, &args.template)?;
    let options = args.policy.chat_options(args.system.as_deref(), args.template.arguments());
    let policy = load::policy(&opened, &options)?;
    let engine = load::open_device(&args.gpu)?;
    let model = load::load(&engine, opened, &args.model, &args.gpu)?.model;
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
    if !chat.is_continued() {
        screen.note("The chat template of this model writes earlier turns anew, so parts of the conversation are read again at each turn.")?;
    }
    converse(&mut chat, &options, &stops, args.template.reasoning(), &mut screen)
}

/// Line by line, until the user ends it.
fn converse(
    chat: &mut Chat,
    options: &GenerateOptions,
    stops: &StopStrings,
    reasoning: ReasoningArg,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let (mut pulse, mut options) = (Pulse::default(), options.clone());
    // The last question, and whether it is part of the conversation.
    let mut last = None::<(String, bool)>;
    loop {
        let line = match screen.read(chat, pulse)? {
            Line::Text(line) => line,
            Line::Again => continue,
            Line::End => return Ok(()),
        };
        let question = match Command::parse(&line) {
            _ if line.trim().is_empty() => continue,
            Some(Ok(Command::Quit)) => return Ok(()),
            Some(Ok(Command::Retry)) => {
                let Some((question, was_asked)) = last.clone() else {
                    screen.note("(there is no question to ask again)")?;
                    continue;
                };
                if was_asked && !chat.undo()? {
                    screen.note("(the question cannot be taken back: no memory was left for it)")?;
                    continue;
                }
                question
            }
            Some(Ok(command)) => {
                if matches!(command, Command::Undo | Command::Reset) {
                    last = None;
                }
                command::run(command, chat, &options, screen)?;
                continue;
            }
            Some(Err(message)) => {
                screen.warn(&message)?;
                continue;
            }
            None if matches!(line.trim(), "exit" | "quit") => {
                screen.note("(Ctrl-D or /quit ends the chat)")?;
                continue;
            }
            None => Command::text(&line).to_owned(),
        };
        match answer(chat, &question, &options, stops, reasoning, screen)? {
            Asked::Answered(new) => (pulse, last) = (new, Some((question, true))),
            Asked::TakenBack => last = Some((question, false)),
            Asked::Refused => {}
        }
        // A draw is a function of the seed and of the position: asked again, the same question is to get another answer.
        options.sampler.seed = options.sampler.seed.wrapping_add(1);
    }
}

/// Reads a question, under a bar where it takes long, and starts its answer; nothing if Ctrl-C broke it off.
async fn ask(
    chat: &mut Chat,
    line: &str,
    options: &GenerateOptions,
    stops: &StopStrings,
) -> Result<Option<TextGeneration>, Error> {
    let ids = chat.begin_turn(line).await?;
    let mut reading = Reading::new(ids.len(), "takes it back");
    for piece in ids.chunks(PIECE) {
        if !reading.goes_on(piece) {
            break;
        }
        chat.append(piece).await?;
        chat.session().model().gpu().idle().await?;
    }
    drop(reading);
    if interrupt::asked() {
        return Ok(None);
    }
    chat.answer(options.clone(), stops.clone()).map(Some)
}

/// Asks and streams the answer. What cannot be asked is said, and the conversation goes on as it was; only the device's errors end it.
fn answer(
    chat: &mut Chat,
    line: &str,
    options: &GenerateOptions,
    stops: &StopStrings,
    reasoning: ReasoningArg,
    screen: &mut Screen,
) -> anyhow::Result<Asked> {
    let _busy = interrupt::busy();
    let started = Instant::now();
    let mut generation = match pollster::block_on(ask(chat, line, options, stops)) {
        Ok(Some(generation)) => generation,
        Ok(None) => {
            chat.undo()?;
            screen.note("(interrupted while the question was read: it was never asked; /retry asks it)")?;
            return Ok(Asked::TakenBack);
        }
        Err(error) if error.is_device() => return Err(error.into()),
        Err(error @ Error::Kv(KvError::PositionLimit { .. } | KvError::SegmentTooLong { .. })) => {
            screen.warn(&format!("{}; /undo and /reset make room too", message(&error.into())))?;
            return Ok(Asked::Refused);
        }
        Err(error) => {
            screen.warn(&message(&error.into()))?;
            return Ok(Asked::Refused);
        }
    };
    let mut voice = Voice::new(chat.reasoning(), reasoning);
    let (mut tokens, mut first) = (0_u32, None);
    loop {
        let piece = match pollster::block_on(chat.next_piece(&mut generation)) {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) if error.is_device() => return Err(error.into()),
            Err(error) => {
                screen.warn(&error.to_string())?;
                break;
            }
        };
        if piece.token.is_some() {
            tokens += 1;
            first.get_or_insert_with(Instant::now);
        }
        voice.take(&piece, false)?;
        if interrupt::asked() {
            generation.cancel();
        }
    }
    voice.finish(false)?;
    let reason = generation.stop_reason();
    if !voice.ends_line() || !std::io::stdout().is_terminal() {
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
    let first = first.unwrap_or_else(Instant::now);
    let more = tokens.saturating_sub(1);
    let speed = f64::from(more) / first.elapsed().as_secs_f64().max(1e-9);
    let first = first.saturating_duration_since(started);
    Ok(Asked::Answered(Pulse { first, tokens_per_second: (more > 0).then_some(speed) }))
}
