//! A model's words on their way to standard output: what it thought apart from what it says.

use std::io::{IsTerminal, Write};

use anstyle::Style;
use clap::ValueEnum;

use super::show;
use crate::generate::Piece;
use crate::tokenizer::{Reasoning, ReasoningStream, Stretch};

/// What becomes of what a model thinks before it answers.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReasoningArg {
    /// It is shown, faint on a terminal, and with its marks elsewhere.
    Show,
    /// It is left out.
    Hide,
}

/// One answer.
pub(super) struct Voice {
    thoughts: Option<(Reasoning, ReasoningStream)>,
    shown: ReasoningArg,
    /// The prompt has opened a thought, and nothing came yet.
    opened: bool,
    is_terminal: bool,
    /// What was said and what was thought, so far.
    said: String,
    thought: String,
    ends_line: bool,
}

impl Voice {
    /// `marks` are those of the model, and whether the prompt has opened a thought already.
    pub(super) fn new(marks: Option<(&Reasoning, bool)>, shown: ReasoningArg) -> Self {
        Self {
            thoughts: marks.map(|(marks, opened)| (marks.clone(), marks.stream(opened))),
            shown,
            opened: marks.is_some_and(|(_, opened)| opened),
            is_terminal: std::io::stdout().is_terminal(),
            said: String::new(),
            thought: String::new(),
            ends_line: true,
        }
    }

    /// Takes a piece and shows what is certain of it, unless it is `quiet`.
    pub(super) fn take(&mut self, piece: &Piece, quiet: bool) -> anyhow::Result<()> {
        let Some((marks, stream)) = &mut self.thoughts else {
            return self.say(&Stretch { text: piece.text.clone(), is_thought: false }, quiet);
        };
        let text = marks.spelled(&piece.text, piece.token.as_ref().map(|token| token.id));
        let stretches = stream.push(text);
        if !quiet && !self.is_terminal && shows_thoughts(self.shown) {
            // Whoever reads a pipe gets the model's own words, and the mark that the prompt has written for it.
            if std::mem::take(&mut self.opened) {
                show(&format!("{}\n", marks.open))?;
            }
            show(text)?;
        }
        self.all(&stretches, quiet)
    }

    /// Shows what was held back.
    pub(super) fn finish(&mut self, quiet: bool) -> anyhow::Result<()> {
        let rest = self.thoughts.as_mut().map(|(_, stream)| stream.finish()).unwrap_or_default();
        self.all(&rest, quiet)
    }

    /// What was said, and what was thought if the model thinks.
    pub(super) fn words(self) -> (String, Option<String>) {
        let thought = self.thoughts.is_some().then_some(self.thought).filter(|thought| !thought.is_empty());
        (self.said, thought)
    }

    /// Whether what was shown ends with a line break, or nothing was.
    pub(super) fn ends_line(&self) -> bool {
        self.ends_line
    }

    fn all(&mut self, stretches: &[Stretch], quiet: bool) -> anyhow::Result<()> {
        stretches.iter().try_for_each(|stretch| self.say(stretch, quiet))
    }

    fn say(&mut self, stretch: &Stretch, quiet: bool) -> anyhow::Result<()> {
        let Stretch { text, is_thought } = stretch;
        if *is_thought && !shows_thoughts(self.shown) && self.is_terminal && !quiet && self.thought.is_empty()
        {
            let faint = Style::new().dimmed();
            writeln!(anstream::stdout(), "{faint}(thinking){faint:#}")?;
        }
        let begins_answer = !is_thought && self.said.is_empty() && !self.thought.is_empty();
        let so_far = if *is_thought { &mut self.thought } else { &mut self.said };
        so_far.push_str(text);
        let shows = shows_thoughts(self.shown);
        let raw = self.thoughts.is_some() && shows && !self.is_terminal;
        if quiet || raw || text.is_empty() || (*is_thought && !shows) {
            return Ok(());
        }
        self.ends_line = text.ends_with('\n');
        if !is_thought {
            if begins_answer && shows {
                show(if self.thought.ends_with('\n') { "\n" } else { "\n\n" })?;
            }
            return show(text);
        }
        let faint = Style::new().dimmed();
        write!(anstream::stdout(), "{faint}")?;
        show(text)?;
        write!(anstream::stdout(), "{faint:#}")?;
        Ok(std::io::stdout().flush()?)
    }
}

fn shows_thoughts(shown: ReasoningArg) -> bool {
    shown == ReasoningArg::Show
}
