//! What the terminal shows: the prompt, colours, line editing with history.
//!
//! Only the sixteen colours of the terminal's own palette and its weights are used, so it reads on dark and on light alike. `anstream`
//! leaves them out where output goes elsewhere or `NO_COLOR` is set, as rustyline does with those of the prompt. Without a terminal,
//! lines are read as they come.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use anyhow::Context;
use etcetera::BaseStrategy;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Editor, Helper};

use super::Pulse;
use super::command::Command;
use super::lines::{self, Piped};
use crate::chat::Chat;
use crate::cli::printable;

const FAINT: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default();

/// What a line turned out to be.
pub(super) enum Line {
    Text(String),
    /// Nothing to be asked; what there was to say about it was said.
    Again,
    End,
}

pub(super) struct Screen {
    editor: Option<Editor<Aid, FileHistory>>,
    history: Option<PathBuf>,
}

impl Screen {
    pub(super) fn new() -> anyhow::Result<Self> {
        if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
            return Ok(Self { editor: None, history: None });
        }
        let config = Config::builder().auto_add_history(true).max_history_size(1000)?.build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Aid));
        let history = history_file();
        if let Some(path) = history.as_ref().filter(|path| path.exists())
            && let Err(error) = editor.load_history(path)
        {
            log::warn!("{}: the history could not be read: {error}", path.display());
        }
        Ok(Self { editor: Some(editor), history })
    }

    /// The next line, under a prompt that says how the conversation stands.
    pub(super) fn read(&mut self, chat: &Chat, pulse: Pulse) -> anyhow::Result<Line> {
        let Some(editor) = &mut self.editor else { return self.piped() };
        match editor.readline(&prompt(chat, pulse)) {
            Ok(line) => {
                self.keep();
                Ok(Line::Text(line))
            }
            Err(ReadlineError::Interrupted) => {
                self.note("(Ctrl-D or /quit ends the chat)")?;
                Ok(Line::Again)
            }
            Err(ReadlineError::Eof) => Ok(Line::End),
            // What was typed is no UTF-8: no reason to lose the conversation.
            Err(ReadlineError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                self.warn(
                    "the line is not UTF-8, so it was not asked; is the terminal set to another encoding?",
                )?;
                Ok(Line::Again)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next line of a pipe.
    fn piped(&mut self) -> anyhow::Result<Line> {
        match lines::next(&mut std::io::stdin().lock()).context("reading standard input")? {
            Piped::End => Ok(Line::End),
            Piped::Line(text, valid) => {
                if !valid {
                    self.warn("the line is not UTF-8; \u{fffd} stands for what could not be read")?;
                }
                Ok(Line::Text(text))
            }
            Piped::TooLong => {
                self.warn(&format!("a line of more than {} bytes was not asked", lines::MOST_BYTES))?;
                Ok(Line::Again)
            }
        }
    }

    /// Adds the newest line to the history at once: whatever ends this program, and whoever else writes there, it is kept.
    fn keep(&mut self) {
        let (Some(editor), Some(path)) = (&mut self.editor, &self.history) else { return };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = folder.map_err(ReadlineError::from).and_then(|()| editor.append_history(path)) {
            log::warn!("{}: the history could not be kept: {error}", path.display());
            // It is said once.
            self.history = None;
        }
    }

    /// A line of the program's own, not of the model.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.line(Style::new(), text)
    }

    /// A line at the margin of attention.
    pub(super) fn note(&mut self, text: &str) -> anyhow::Result<()> {
        self.line(FAINT, text)
    }

    /// Something did not work.
    pub(super) fn warn(&mut self, text: &str) -> anyhow::Result<()> {
        self.line(RED, text)
    }

    /// Without a terminal the model's words alone go to standard output.
    fn line(&self, style: Style, text: &str) -> anyhow::Result<()> {
        let text = printable(text);
        match self.editor {
            Some(_) => writeln!(anstream::stdout(), "{style}{text}{style:#}")?,
            None => writeln!(anstream::stderr(), "{style}{text}{style:#}")?,
        }
        Ok(())
    }
}

/// How fast the last answer came, what is remembered of what was seen, and its memory.
fn prompt(chat: &Chat, pulse: Pulse) -> String {
    let kv = chat.session().kv();
    if kv.seen == 0 {
        return "> ".to_owned();
    }
    let mib = kv.bytes_live as f64 / f64::from(1 << 20);
    format!("[{pulse}{} of {} live, {mib:.1} MiB] > ", kv.live, kv.seen)
}

/// Under `$XDG_STATE_HOME`, by default `~/.local/state`; on Windows, which has no such folder, under `%APPDATA%`. `None` if the user has
/// no home.
fn history_file() -> Option<PathBuf> {
    let folders = etcetera::choose_base_strategy().ok()?;
    let state = folders.state_dir().unwrap_or_else(|| folders.data_dir());
    Some(state.join("killick").join("history"))
}

/// Completes commands and paints the prompt.
struct Aid;

impl Helper for Aid {}
impl Validator for Aid {}
impl Hinter for Aid {
    type Hint = String;
}

impl Completer for Aid {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let all = Command::names().map(|name| format!("/{name}"));
        let fitting = all.filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, fitting.collect()))
    }
}

impl Highlighter for Aid {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        match prompt.rsplit_once("> ") {
            Some((status, _)) => Cow::Owned(format!("{FAINT}{status}{FAINT:#}{BOLD}> {BOLD:#}")),
            None => Cow::Borrowed(prompt),
        }
    }
}
