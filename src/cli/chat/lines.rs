//! Lines that come through a pipe: bounded, and whatever bytes they are made of.

use std::io::{self, BufRead};

/// A longer line is no question. The largest context there is takes less.
pub(super) const MOST_BYTES: usize = 1 << 20;

/// A line, and what was wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piped {
    /// Its text. `false`: some of its bytes were no UTF-8, and U+FFFD stands for them.
    Line(String, bool),
    /// It was longer than [`MOST_BYTES`] and is left out.
    TooLong,
    /// There are no more.
    End,
}

/// Reads the next line, of which no more than [`MOST_BYTES`] are ever kept.
///
/// # Errors
/// The input's own.
pub(super) fn next(input: &mut dyn BufRead) -> io::Result<Piped> {
    let (mut bytes, mut any, mut too_long) = (Vec::new(), false, false);
    loop {
        let part = input.fill_buf()?;
        if part.is_empty() {
            break;
        }
        any = true;
        let end = part.iter().position(|byte| *byte == b'\n');
        let text = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
        too_long |= bytes.len() + text.len() > MOST_BYTES;
        if !too_long {
            bytes.extend_from_slice(text);
        }
        let used = text.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, too_long) {
        (false, _) => Piped::End,
        (true, true) => Piped::TooLong,
        (true, false) => {
            let text = String::from_utf8_lossy(&bytes);
            let valid = matches!(text, std::borrow::Cow::Borrowed(_));
            Piped::Line(text.trim_end_matches('\r').to_owned(), valid)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut input: &[u8]) -> Vec<Piped> {
        let mut lines = Vec::new();
        loop {
            match next(&mut input).unwrap() {
                Piped::End => return lines,
                line => lines.push(line),
            }
        }
    }

    #[test]
    fn a_line_is_text_whatever_its_bytes_and_its_end() {
        let line = |text: &str, valid| Piped::Line(text.to_owned(), valid);
        assert_eq!(all(b""), []);
        assert_eq!(all(b"one\r\n\ntwo"), [line("one", true), line("", true), line("two", true)]);
        assert_eq!(all(b"caf\xe9\nna\xc3\xafve\n"), [line("caf\u{fffd}", false), line("na\u{ef}ve", true)]);
    }

    #[test]
    fn a_line_without_end_is_left_out_and_the_next_is_read() {
        let mut input = vec![b'x'; MOST_BYTES + 1];
        input.extend(b"\nnext\n");
        assert_eq!(all(&input), [Piped::TooLong, Piped::Line("next".to_owned(), true)]);
        // Read in small parts, as from a pipe.
        let mut parts = io::BufReader::with_capacity(7, input.as_slice());
        assert_eq!(next(&mut parts).unwrap(), Piped::TooLong);
        assert_eq!(next(&mut parts).unwrap(), Piped::Line("next".to_owned(), true));
        let longest = vec![b'y'; MOST_BYTES];
        assert!(matches!(&all(&longest)[..], [Piped::Line(text, true)] if text.len() == MOST_BYTES));
    }
}
