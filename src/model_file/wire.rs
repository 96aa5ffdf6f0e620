//! The fields of a protobuf message, one by one and without copies: as much of the format as a `tokenizer.model` uses.

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// A number of variable length: booleans, enumerations and integers; negative ones in two's complement.
    Number(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message in the order of the file; ends after the first that is broken.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = u64::from(*self.take(1)?.first()?);
            let bits = byte & 0x7f;
            let placed = bits.checked_shl(shift)?;
            // The last group has one bit.
            if placed.checked_shr(shift)? != bits {
                return None;
            }
            number |= placed;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Fixed64(self.take(8)?.try_into().ok()?),
            2 => {
                let len = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(self.take(4)?.try_into().ok()?),
            // Groups, which nothing has used for long, and what is no wire type at all.
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    /// Number and value; `None` where the bytes are not a field.
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_broken_ones_end_the_message() {
        let read = |bytes: &[u8]| Fields::of(bytes).map(|field| field.map(|(n, _)| n)).collect::<Vec<_>>();
        let message =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 1, 2, 3, 4, 5, 6, 7, 8];
        let fields: Option<Vec<_>> = Fields::of(&message).collect();
        let one = 1.0f32.to_le_bytes();
        let expected = [
            Value::Number(150),
            Value::Bytes(b"hi"),
            Value::Fixed32(one),
            Value::Fixed64([1, 2, 3, 4, 5, 6, 7, 8]),
        ];
        assert_eq!(fields, Some((1..).zip(expected).collect()));
        assert_eq!(read(&[0x12, 0x03, b'h']), [None]);
        assert_eq!(read(&[0x08]), [None]);
        assert_eq!(read(&[0x0b]), [None], "a group");
        assert_eq!(read(&[0x08, 1, 0x08, 0x80]), [Some(1), None]);
        let minus_one = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(Fields::of(&minus_one).next(), Some(Some((1, Value::Number(u64::MAX)))));
        let too_large = [&[0x08][..], &[0xff; 9], &[0x03]].concat();
        assert_eq!(read(&too_large), [None]);
        let endless = [&[0x08][..], &[0x80; 20]].concat();
        assert_eq!(read(&endless), [None]);
        let beyond = [&[0x12][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(read(&beyond), [None], "a length of 2^64 - 1");
    }
}
