//! From the spelling of a token in a vocabulary to the exact bytes it stands for.
//!
//! Anchors may be given as byte strings and text is streamed, so what a token decodes to has to be known to the byte,
//! even where a single token is not valid UTF-8. The `tokenizers` crate only decodes to text; these few rules are the
//! same ones, before that last step.

/// How the spelling of a token is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2: every byte is one printable character.
    ByteLevel,
    /// SentencePiece: U+2581 is a space.
    Pieces {
        /// `<0x0A>` is the byte 10.
        byte_fallback: bool,
        /// One space at the start of a text was put there by the encoder and is taken off again.
        strip_first_space: bool,
    },
}

impl Spelling {
    /// The bytes that the vocabulary entry `token` decodes to.
    pub(super) fn bytes(self, token: &str) -> Box<[u8]> {
        match self {
            // A spelling with any other character was not made by the byte encoder and stands for itself.
            Self::ByteLevel => token
                .chars()
                .map(byte_of)
                .collect::<Option<Vec<u8>>>()
                .unwrap_or_else(|| token.as_bytes().to_vec())
                .into(),
            Self::Pieces { byte_fallback, .. } => match hex_byte(token) {
                Some(byte) if byte_fallback => [byte].into(),
                _ => token.replace('\u{2581}', " ").into_bytes().into(),
            },
        }
    }

    /// Whether one space at the start of a whole text is not part of it.
    pub(super) fn strips_first_space(self) -> bool {
        matches!(self, Self::Pieces { strip_first_space: true, .. })
    }
}

/// The byte that a character of the GPT-2 alphabet stands for.
///
/// Printable bytes stand for themselves; the others (0 to 0x20, 0x7f to 0xa0, 0xad) take the code points from U+0100
/// on, in order (`bytes_to_unicode` in GPT-2's encoder.py).
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code.checked_sub(0x100)?,
        0x121..=0x142 => code.checked_sub(0x121 - 0x7f)?,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The byte of a spelling such as `<0x0A>`.
fn hex_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_alphabet_is_the_inverse_of_gpt2() {
        let mut next = 0x100;
        for byte in 0..=255u8 {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            let code = if printable { u32::from(byte) } else { next };
            next += u32::from(!printable);
            assert_eq!(char::from_u32(code).and_then(byte_of), Some(byte));
        }
        assert_eq!(char::from_u32(next).and_then(byte_of), None);
        assert_eq!(byte_of(' '), None);
    }

    #[test]
    fn byte_level_spellings() {
        assert_eq!(&*Spelling::ByteLevel.bytes("Ġthe"), b" the");
        assert_eq!(&*Spelling::ByteLevel.bytes("Ã"), b"\xc3");
        assert_eq!(&*Spelling::ByteLevel.bytes("  added Ġ"), "  added Ġ".as_bytes());
    }

    #[test]
    fn sentencepiece_spellings() {
        let spelling = Spelling::Pieces { byte_fallback: true, strip_first_space: true };
        assert_eq!(&*spelling.bytes("\u{2581}the"), b" the");
        assert_eq!(&*spelling.bytes("<0xE2>"), b"\xe2");
        assert_eq!(&*spelling.bytes("<0x+5>"), b"<0x+5>");
        let plain = Spelling::Pieces { byte_fallback: false, strip_first_space: true };
        assert_eq!(&*plain.bytes("<0xE2>"), b"<0xE2>");
    }
}
