//! Which entries of a list a text begins with, found byte by byte in the sorted list: no tree, no memory of its own.

/// Spellings and ids, sorted by the bytes of the spelling.
#[derive(Default)]
pub(in crate::tokenizer) struct Prefixes {
    entries: Vec<(Box<[u8]>, u32)>,
}

impl Prefixes {
    /// Takes spellings that are unique.
    pub(in crate::tokenizer) fn new<'a>(entries: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let mut entries: Vec<(Box<[u8]>, u32)> =
            entries.map(|(spelling, id)| (spelling.as_bytes().into(), id)).collect();
        entries.sort_unstable();
        Self { entries }
    }

    /// Length in bytes and id of every entry that `text` begins with, the shortest first.
    pub(in crate::tokenizer) fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut rest = self.entries.as_slice();
        text.bytes()
            .enumerate()
            .map_while(move |(at, byte)| {
                // All entries left agree with the text before `at`; those that end there come first.
                let next = |entry: &(Box<[u8]>, u32)| entry.0.get(at).copied();
                let (_, from) =
                    rest.split_at_checked(rest.partition_point(|entry| next(entry) < Some(byte)))?;
                rest = from.get(..from.partition_point(|entry| next(entry) <= Some(byte)))?;
                let len = at.saturating_add(1);
                rest.first().map(|(spelling, id)| (spelling.len() == len).then_some((len, *id)))
            })
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_that_begins_the_text_is_found() {
        let words = ["a", "ab", "abc", "b", "bab", "é", "ab c", "\u{2581}"];
        let list = Prefixes::new(words.into_iter().zip(0..));
        let of = |text| list.of(text).collect::<Vec<_>>();
        assert_eq!(of("abcd"), [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(of("babble"), [(1, 3), (3, 4)]);
        assert_eq!(of("ab c"), [(1, 0), (2, 1), (4, 6)]);
        assert_eq!(of("éa"), [(2, 5)]);
        assert_eq!((of("xa"), of("")), (vec![], vec![]));
        assert_eq!(Prefixes::default().of("a").count(), 0);
    }
}
