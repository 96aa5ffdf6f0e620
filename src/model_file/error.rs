//! What can be wrong with a model file.
//!
//! One enum for the room: every variant names the file and the field, so that a message is
//! enough to find the byte that caused it. Text that comes out of a file is quoted and cut by
//! [`quoted`], because a tensor name may hold terminal escapes or a megabyte.

use std::io;

/// The most characters of a text of unknown origin that a message repeats.
pub(crate) const QUOTED_CHARS: usize = 64;

/// A model file that cannot be used, and why.
///
/// `file` is the plain name of the file, `field` says which part of it (a metadata key, a tensor,
/// a header field) and is already quoted and cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// The operating system or the host refused a read.
    #[error("{}: reading {field}: {source}", quoted(file))]
    Io {
        /// The file being read.
        file: String,
        /// What was being read from it.
        field: String,
        /// The cause.
        source: io::Error,
    },
    /// Something that must be there is not.
    #[error("{}: {field} is missing", quoted(file))]
    Missing {
        /// The file, folder or model that lacks it.
        file: String,
        /// What is missing.
        field: String,
    },
    /// The file ends before the field it promises.
    #[error("{}: {field} at offset {offset} needs {need} bytes, the file has {have} left", quoted(file))]
    Truncated {
        /// The file that ends too early.
        file: String,
        /// What was promised.
        field: String,
        /// Where it starts, in bytes from the start of the file.
        offset: u64,
        /// Bytes it needs.
        need: u64,
        /// Bytes from `offset` to the end of the file.
        have: u64,
    },
    /// A number is beyond the limit this reader sets.
    #[error("{}: {field} is {value}, the limit is {cap}", quoted(file))]
    OverCap {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// Its value.
        value: u64,
        /// The largest value accepted.
        cap: u64,
    },
    /// A value breaks the rule for its field.
    #[error("{}: {field} is {value}, expected {expected}", quoted(file))]
    Invalid {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// Its value, quoted if it is text.
        value: String,
        /// The rule.
        expected: String,
    },
    /// A value has another type than its field asks for.
    #[error("{}: {field} is of type {found}, expected {expected}", quoted(file))]
    WrongType {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// The type found.
        found: String,
        /// The type the field has.
        expected: &'static str,
    },
    /// A name that must be unique occurs twice.
    #[error("{}: {field} occurs twice", quoted(file))]
    Duplicate {
        /// The file.
        file: String,
        /// The name that is repeated.
        field: String,
    },
    /// A tensor is stored in a data type this reader does not know.
    #[error("{}: {field} has the data type {dtype}; this reader knows {known}", quoted(file))]
    UnknownDtype {
        /// The file.
        file: String,
        /// The tensor.
        field: String,
        /// The data type's name or number, and what is known of it.
        dtype: String,
        /// The data types that are read from files of this format.
        known: String,
    },
    /// A file is something else than its place or its name says.
    #[error("{}: this is {what}; {advice}", quoted(file))]
    Other {
        /// The file.
        file: String,
        /// What it is.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// A tensor's shape is not the one the config gives.
    #[error("{}: {field} has the shape {found:?}, the config asks for {expected:?}", quoted(file))]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        field: String,
        /// The shape in the file, slowest dimension first.
        found: Vec<u64>,
        /// The shape that follows from the config.
        expected: Vec<u64>,
    },
    /// The file asks for something the engine cannot do yet; ignoring it would compute another
    /// function than the model's.
    #[error("{}: {field} is {value}, which is not supported{}", quoted(file), listed(supported.as_deref()))]
    Unsupported {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// Its value, quoted if it is text.
        value: String,
        /// What the field may be instead, if that can be listed.
        supported: Option<String>,
    },
    /// Weights in a pickle, a format that can run programs when it is read.
    #[error(
        "{}: the weights are pickled, and reading a pickle can run a program; convert them first: \
         python tools/convert/pickled.py FOLDER NEW_FOLDER",
        quoted(file)
    )]
    Pickled {
        /// The file.
        file: String,
    },
    /// Text that is not the JSON it should be.
    #[error("{}: {field} is not valid JSON: {problem}", quoted(file))]
    Json {
        /// The file.
        file: String,
        /// The part of the file that holds the text.
        field: String,
        /// Where and why, cut to one line.
        problem: String,
    },
}

/// `text` in quotes, escaped, and cut at [`QUOTED_CHARS`].
pub(crate) fn quoted(text: &str) -> String {
    let (head, rest) = cut(text, QUOTED_CHARS);
    format!("{head:?}{rest}")
}

/// The first `most` characters, and the dots that stand for what is left out, if anything is.
pub(crate) fn cut(text: &str, most: usize) -> (&str, &'static str) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (text.get(..end).unwrap_or_default(), "..."),
        None => (text, ""),
    }
}

fn listed(supported: Option<&str>) -> String {
    supported.map_or_else(String::new, |list| format!("; supported: {list}"))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may panic")]
mod tests {
    use super::{cut, quoted};

    #[test]
    fn a_text_is_cut_after_whole_characters() {
        let text = "\u{e9}".repeat(65);
        assert_eq!(cut(&text, 65), (&*text, ""));
        assert_eq!(cut(&text, 64), (&*"\u{e9}".repeat(64), "..."));
        assert_eq!((cut("", 0), cut("a", 0)), (("", ""), ("", "...")));
    }

    #[test]
    fn quotes_escape_and_cut_foreign_text() {
        assert_eq!(quoted("a\u{1b}[2J\""), r#""a\u{1b}[2J\"""#);
        let long = quoted(&"\u{e9}".repeat(1 << 20));
        assert_eq!(long, format!("\"{}\"...", "\u{e9}".repeat(64)));
    }
}
