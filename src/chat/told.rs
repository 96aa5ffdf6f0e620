//! A conversation kept as text, for templates under which the prompt of a turn is not the one before with something added.
//!
//! Most templates write each turn once and for all, and the session only reads what is new. Some do not: they move the system prompt
//! to the last question, or leave out of earlier answers what the model thought. Then each prompt is the whole conversation rendered
//! anew. What both have in common at their beginning is not read again, for the session was copied when it had just read that.

/// What was said, and the prompt that the copy of the session holds.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Questions with their answers; the last may still be on its way.
    exchanges: Vec<(String, String)>,
    /// The beginning of the prompt under way that the next one will have too; empty once the copy holds it.
    lasting: Vec<u32>,
    /// The tokens that the copied session has read.
    kept: Vec<u32>,
}

impl Told {
    /// A question is asked, by a prompt of which the next one will have this beginning.
    pub(super) fn ask(&mut self, user: &str, lasting: &[u32]) {
        self.exchanges.push((user.to_owned(), String::new()));
        if lasting.len() > self.kept.len() || !lasting.starts_with(&self.kept) {
            self.lasting = lasting.to_vec();
        }
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

    /// The last answer ends with what `closing` says of it.
    pub(super) fn close(&mut self, closing: impl FnOnce(&str) -> &'static str) {
        if let Some((_, answer)) = self.exchanges.last_mut() {
            answer.push_str(closing(answer));
        }
    }

    /// The tokens that the copied session has read.
    pub(super) fn kept(&self) -> &[u32] {
        &self.kept
    }

    /// Only the first `asked` questions were asked.
    pub(super) fn take_back(&mut self, asked: u32) {
        self.exchanges.truncate(asked as usize);
        self.lasting.clear();
    }

    /// What of `prompt` follows what the copy holds; `None` if that is not its beginning.
    pub(super) fn rest<'p>(&self, prompt: &'p [u32]) -> Option<&'p [u32]> {
        let rest = prompt.strip_prefix(self.kept.as_slice())?;
        (!self.kept.is_empty()).then_some(rest)
    }

    /// How many of `count` tokens from position `pos` on are to be read before the session is copied; `None` if it is not now.
    pub(super) fn until_copy(&self, pos: u32, count: usize) -> Option<usize> {
        let first = self.lasting.len().checked_sub(pos as usize)?;
        (!self.lasting.is_empty() && first <= count).then_some(first)
    }

    /// The copy holds the beginning that lasts.
    pub(super) fn keep(&mut self) {
        self.kept = std::mem::take(&mut self.lasting);
    }
}
