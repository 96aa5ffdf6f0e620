//! What can be wrong with a tokenizer, a text or a chat template.
//!
//! Every message names the file, the field and the value. Strings from a file are escaped and cut before they are
//! stored, so that an error can be printed to a terminal as it is.

use crate::model_file::cut;

/// Why a tokenizer or a chat template was refused, or could not do its work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The model brings no tokenizer at all.
    #[error("{file}: no tokenizer: neither tokenizer.json nor tokenizer.ggml.* keys")]
    Missing {
        /// Label of the model.
        file: String,
    },
    /// Not the JSON that the format asks for: syntax, a type, a missing, unknown or repeated field.
    #[error("{file}: {field}: line {line}, column {column}: {reason}")]
    Json {
        /// File the value comes from.
        file: String,
        /// Part of the file that was being read.
        field: &'static str,
        /// Line inside that part, from 1; 0 where the position is unknown.
        line: usize,
        /// Column inside that part, from 1; 0 where the position is unknown.
        column: usize,
        /// The parser's words, escaped and cut.
        reason: String,
    },
    /// A size or count beyond its bound.
    #[error("{file}: {field}: {value} is more than the limit of {limit}")]
    TooLarge {
        /// File the value comes from.
        file: String,
        /// Field in the file.
        field: String,
        /// The size or count found.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// Well formed, but nothing this program can do.
    #[error("{file}: {field}: {value} is not supported (supported: {supported})")]
    Unsupported {
        /// File the value comes from.
        file: String,
        /// Field in the file.
        field: String,
        /// The value, escaped and cut.
        value: String,
        /// What would be accepted.
        supported: &'static str,
    },
    /// A value that contradicts the rest of the file.
    #[error("{file}: {field}: {value} is not valid: expected {expected}")]
    Invalid {
        /// File the value comes from.
        file: String,
        /// Field in the file.
        field: String,
        /// The value, escaped and cut.
        value: String,
        /// What the rest of the file asks for.
        expected: &'static str,
    },
    /// The `tokenizers` crate refused a description that passed our own checks.
    #[error("{file}: tokenizer cannot be built: {reason}")]
    Build {
        /// File the description comes from.
        file: String,
        /// The crate's words, escaped and cut.
        reason: String,
    },
    /// The `tokenizers` crate could not encode a text.
    #[error("text cannot be encoded: {reason}")]
    Encode {
        /// The crate's words, escaped and cut.
        reason: String,
    },
    /// An id that has no token.
    #[error("token id {id} has no token (the vocabulary ends at {vocab_size})")]
    UnknownId {
        /// The id asked for.
        id: u32,
        /// One past the largest id.
        vocab_size: u32,
    },
    /// The model brings no chat template, so nobody can talk with it turn by turn.
    #[error("{file} has no chat template")]
    NoChatTemplate {
        /// Label of the model.
        file: String,
    },
    /// The chat template does not parse.
    #[error("chat template: line {line}: {reason}")]
    TemplateSyntax {
        /// Line of the template, from 1; 0 where unknown.
        line: usize,
        /// The parser's words, escaped and cut.
        reason: String,
    },
    /// The chat template failed while it ran; the text of the messages is never repeated here.
    #[error("chat template: line {line}: {reason}")]
    TemplateRun {
        /// Line of the template, from 1; 0 where unknown.
        line: usize,
        /// The kind of failure, such as "engine ran out of fuel".
        reason: String,
    },
    /// The chat template called `raise_exception`.
    #[error("chat template refuses these messages: {message}")]
    TemplateRefused {
        /// The template's words, escaped and cut.
        message: String,
    },
    /// The chat template or its output is beyond the bound.
    #[error("chat template: {what} is more than the limit of {limit} bytes")]
    TemplateTooLarge {
        /// "template" or "output".
        what: &'static str,
        /// The bound in bytes.
        limit: usize,
    },
    /// A value for the chat template has a name that it cannot have.
    #[error("template argument {name}: {reason}")]
    TemplateArgument {
        /// The name, escaped and cut.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The chat template gives no text that could be appended for the next turn.
    #[error("chat template cannot be continued turn by turn: {reason}")]
    TemplateTurns {
        /// What stands against it.
        reason: &'static str,
    },
    /// More stop strings than can be looked for at once.
    #[error("{count} stop strings are more than the limit of {limit}")]
    StopCount {
        /// Stop strings given.
        count: usize,
        /// The bound.
        limit: usize,
    },
    /// A stop string that is empty or too long.
    #[error("stop string {index} has {bytes} bytes, allowed are 1 to {limit}")]
    StopLength {
        /// Its index in the list given.
        index: usize,
        /// Its bytes.
        bytes: usize,
        /// The bound in bytes.
        limit: usize,
    },
}

/// Characters of another library's message that an error repeats.
const REASON_CHARS: usize = 200;

/// Another library's message, escaped (it may repeat parts of a file) and cut.
pub(super) fn reason(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let (head, rest) = cut(&text, REASON_CHARS);
    // Control characters are what makes a terminal dangerous; quotes may stay readable.
    let clean: String = head
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_debug().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    format!("{clean}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_escape_control_characters_and_are_cut() {
        assert_eq!(reason(&"a `b`\u{7}\n"), "a `b`\\u{7}\\n");
        assert_eq!(reason(&"x".repeat(1000)).len(), REASON_CHARS + 3);
    }
}
