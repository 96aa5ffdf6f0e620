//! Lines that begin with a slash.

use super::screen::Screen;
use crate::chat::Chat;
use crate::cli::wording;
use crate::generate::GenerateOptions;

/// What a user may ask of the program instead of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Stats,
    Anchors,
    Undo,
    Retry,
    Reset,
    Quit,
}

/// Name, command, what it does.
const COMMANDS: [(&str, Command, &str); 7] = [
    ("help", Command::Help, "this list"),
    ("stats", Command::Stats, "what was seen and what is remembered"),
    ("anchors", Command::Anchors, "each anchor remembered, with the sentence it stands for"),
    ("undo", Command::Undo, "take back the last question and its answer"),
    ("retry", Command::Retry, "ask the last question again, for another answer"),
    ("reset", Command::Reset, "forget the conversation"),
    ("quit", Command::Quit, "end (as does Ctrl-D)"),
];

impl Command {
    /// The command of a line; `None` for a line that is none, an error for a command there is not. Two slashes at the beginning
    /// are text that begins with one.
    pub(super) fn parse(line: &str) -> Option<Result<Self, String>> {
        let name = line.trim().strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
        // Other programs call it so.
        let name = if name == "exit" { "quit" } else { name };
        let found = COMMANDS.iter().find(|(known, ..)| *known == name);
        Some(found.map(|(_, command, _)| *command).ok_or_else(|| {
            format!("there is no command /{name}; /help lists them, and // begins a text with a slash")
        }))
    }

    /// The text of a line that is no command: without the first of two slashes.
    pub(super) fn text(line: &str) -> &str {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") { trimmed.get(1..).unwrap_or(line) } else { line }
    }

    /// The names, for completion.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        COMMANDS.iter().map(|(name, ..)| *name)
    }
}

pub(super) fn run(
    command: Command,
    chat: &mut Chat,
    options: &GenerateOptions,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    match command {
        Command::Help => {
            for (name, _, what) in COMMANDS {
                screen.say(&format!("/{name:<8} {what}"))?;
            }
            screen.say("Ctrl-C    end an answer, of which what was said is remembered, or the reading of a question, which was never asked then")
        }
        Command::Stats => stats(chat, options, screen),
        Command::Anchors => anchors(chat, screen),
        Command::Undo => match chat.undo()? {
            true => screen.note("(the last turn was taken back)"),
            false => screen.note("(there is no turn to take back)"),
        },
        Command::Reset => {
            chat.reset()?;
            screen.note("(the conversation is forgotten)")
        }
        // What needs the loop, it does itself.
        Command::Retry | Command::Quit => Ok(()),
    }
}

fn stats(chat: &Chat, options: &GenerateOptions, screen: &mut Screen) -> anyhow::Result<()> {
    let (kv, session) = (chat.session().kv(), chat.session());
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    screen.say(&format!("tokens    {} seen, {} turns", kv.seen, chat.asked()))?;
    screen.say(&format!("entries   {} live, {} at most", kv.live, kv.peak_live))?;
    screen.say(&format!(
        "anchors   {} ({} forced, {} dropped), {} segments closed",
        kv.anchors, kv.forced_anchors, kv.dropped_anchors, kv.segments
    ))?;
    screen.say(&format!(
        "memory    {:.1} MiB of keys and values live of {:.1} MiB allocated; {:.1} MiB for the conversation in all",
        mib(kv.bytes_live),
        mib(kv.bytes_allocated),
        mib(chat.allocated_bytes())
    ))?;
    let counted = if options.sampler.is_greedy() { "" } else { ", which each answer counts one on" };
    screen.say(&format!("sampler   {}{counted}", wording::sampler(&options.sampler)))?;
    match session.policy().limit {
        Some(limit) => screen.say(&format!("room      {} of {limit} tokens", session.remaining())),
        None => screen.say("room      endless: memory does not grow with the text"),
    }
}

fn anchors(chat: &Chat, screen: &mut Screen) -> anyhow::Result<()> {
    let remembered = chat.remembered();
    if remembered.is_empty() {
        let why = if chat.session().policy().has_anchors() { "yet" } else { "under this policy" };
        return screen.note(&format!("(no anchor is remembered {why})"));
    }
    for anchor in remembered {
        let text: String = anchor.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (start, pos) = (anchor.anchor.start, anchor.anchor.pos);
        screen.say(&format!("{start:>6}..{pos:<6} {}", shortened(&text, 100)))?;
    }
    Ok(())
}

/// The text, or its beginning and its end.
fn shortened(text: &str, most: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= most {
        return text.to_owned();
    }
    let (head, tail) = (most * 2 / 3, most / 3);
    let join = |part: &[char]| part.iter().collect::<String>();
    format!("{} … {}", join(&chars[..head]), join(&chars[chars.len() - tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_and_two_begin_a_text() {
        assert_eq!(Command::parse("/stats "), Some(Ok(Command::Stats)));
        assert_eq!((Command::parse("//stats"), Command::text(" //stats")), (None, "/stats"));
        assert_eq!(Command::text("a // b"), "a // b");
        assert_eq!(Command::parse("and/or"), None);
        assert_eq!(Command::parse("/exit"), Command::parse("/quit"));
        let message = Command::parse("/stat").and_then(Result::err).unwrap_or_default();
        assert!(message.contains("/stat") && message.contains("/help"), "{message}");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("short", 9), "short");
        assert_eq!(shortened("abcdefghijklmno", 9), "abcdef … mno");
    }
}
