//! A conversation kept as text, for templates under which the prompt of a turn is not the one before with something added.
//!
//! Most templates write each turn once and for all, and the session only reads what is new. Some do not: they move the system prompt
//! to the last question, or leave out of earlier answers what the model thought. Then each prompt is the whole conversation rendered
//! anew. What of it the last prompt had already is not read again, for the session was copied when it had just been read.

/// What was said, and the prompt that the copy of the session holds.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Questions with their answers; the last may still be on its way.
    exchanges: Vec<(String, String)>,
    /// The prompt that the session reads now; empty once the copy holds it.
    reading: Vec<u32>,
    /// The prompt whose tokens the copied session has read.
    kept: Vec<u32>,
}

impl Told {
    /// A question is asked by this prompt.
    pub(super) fn ask(&mut self, user: &str, prompt: Vec<u32>) {
        self.exchanges.push((user.to_owned(), String::new()));
        self.reading = prompt;
    }

    /// The answer goes on.
    pub(super) fn answer(&mut self, text: &str) {
        if let Some((_, answer)) = self.exchanges.last_mut() {
            answer.push_str(text);
        }
    }

    /// Questions and answers so far.
    pub(super) fn exchanges(&self) -> &[(String, String)] {
        &self.exchanges
    }

    /// Only the first `asked` questions were asked.
    pub(super) fn take_back(&mut self, asked: u32) {
        self.exchanges.truncate(asked as usize);
        self.reading.clear();
    }

    /// What of `prompt` follows the one that the copy holds; `None` if that one is not its beginning.
    pub(super) fn rest<'p>(&self, prompt: &'p [u32]) -> Option<&'p [u32]> {
        let rest = prompt.strip_prefix(self.kept.as_slice())?;
        (!self.kept.is_empty() && !rest.is_empty()).then_some(rest)
    }

    /// Whether there is a prompt that the session has read and the copy does not hold.
    pub(super) fn was_read(&self) -> bool {
        !self.reading.is_empty()
    }

    /// The copy holds the prompt that was read.
    pub(super) fn keep(&mut self) {
        self.kept = std::mem::take(&mut self.reading);
    }
}
