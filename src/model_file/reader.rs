//! The one bounded reader: every number and string of a binary header passes through it.
//!
//! GGUF readers elsewhere had the same bug again and again: one unchecked addition or one
//! allocation on a file's word. Here a length is compared with its limit, then with what is left
//! of the file, and only then are bytes read; a buffer never grows past bytes that exist.
//! All limits of the room stand here, with the reason beside each.

use super::error::{ModelFileError, quoted};
use super::source::Source;

/// Tensors or metadata entries in one file; the largest real files have a few thousand.
pub(super) const MAX_ENTRIES: u64 = 65_536;
/// Bytes of a metadata key, the limit the GGUF specification sets.
pub(super) const MAX_KEY_BYTES: u64 = 65_535;
/// Bytes of a metadata string.
pub(super) const MAX_STRING_BYTES: u64 = 1 << 20;
/// Bytes of a chat template; real ones stay below 30 KiB.
pub(super) const MAX_TEMPLATE_BYTES: u64 = 256 << 10;
/// Bytes of one token or merge; real ones stay below 1 KiB (long runs of spaces).
pub(super) const MAX_TOKEN_BYTES: u64 = 16 << 10;
/// Elements of a metadata array.
pub(super) const MAX_ARRAY: u64 = 1 << 24;
/// Bytes of a tensor's name: 63 and a zero in llama.cpp.
pub(super) const MAX_GGUF_NAME_BYTES: u64 = 63;
/// Bytes of a tensor's name in safetensors, where module paths get long.
pub(super) const MAX_NAME_BYTES: u64 = 1024;
/// Dimensions of a GGUF tensor.
pub(super) const MAX_GGUF_DIMS: u64 = 4;
/// Dimensions of a safetensors tensor.
pub(super) const MAX_DIMS: u64 = 8;
/// Alignment of GGUF tensors; real files use 32.
pub(super) const MAX_ALIGNMENT: u64 = 1 << 20;
/// Bytes of a safetensors header. The format allows 100 MB; `MAX_ENTRIES` tensors need far less than this,
/// and parsed JSON takes several times its length in memory.
pub(super) const MAX_SAFETENSORS_HEADER: u64 = 16 << 20;
/// Bytes of config.json and `generation_config.json`.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Bytes of `tokenizer_config.json`, which lists added tokens.
pub(super) const MAX_TOKENIZER_CONFIG_BYTES: u64 = 8 << 20;
/// Bytes of tokenizer.json; those of 256,000 tokens have about 35 MB.
pub(crate) const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// Bytes of a shard index: a name and a file for each tensor.
pub(super) const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Bytes read ahead while a header is parsed, and at most per read of weights (a single row or head may need more).
pub(super) const READ_BYTES: usize = 1 << 20;

/// A length in memory as a number of the file's kind; `usize` is never wider than u64.
pub(super) fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A length of the file's kind as one of memory, at the last moment: on wasm32 `usize` is narrower.
pub(super) fn to_usize(file: &str, field: &str, len: u64) -> Result<usize, ModelFileError> {
    usize::try_from(len).map_err(|_| over_cap(file, field, len, len_u64(usize::MAX)))
}

/// Checks `value` against a limit.
pub(super) fn at_most(file: &str, field: &str, value: u64, cap: u64) -> Result<u64, ModelFileError> {
    if value <= cap { Ok(value) } else { Err(over_cap(file, field, value, cap)) }
}

fn over_cap(file: &str, field: &str, value: u64, cap: u64) -> ModelFileError {
    ModelFileError::OverCap { file: file.to_owned(), field: field.to_owned(), value, cap }
}

/// Reads `len` bytes that the caller knows to lie inside the source.
pub(super) async fn read_exact(
    source: &dyn Source,
    file: &str,
    field: &str,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, ModelFileError> {
    let io = |source| ModelFileError::Io { file: file.to_owned(), field: field.to_owned(), source };
    let bytes = source.read_at(offset, len).await.map_err(io)?;
    // A host's source is foreign code: what follows relies on the length.
    if bytes.len() == len { Ok(bytes) } else { Err(io(std::io::ErrorKind::UnexpectedEof.into())) }
}

/// A cursor over the head of a binary file.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    file: &'a str,
    /// What is being read, for messages.
    field: String,
    /// Bytes read ahead, and how many of them are used up.
    window: Vec<u8>,
    used: usize,
    /// Offset of the window's first byte in the file.
    window_start: u64,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `source`.
    pub(super) fn new(source: &'a dyn Source, file: &'a str) -> Self {
        Self { source, file, field: String::new(), window: Vec::new(), used: 0, window_start: 0 }
    }

    /// Names what is read next.
    pub(super) fn enter(&mut self, field: impl Into<String>) {
        self.field = field.into();
    }

    /// Where the cursor is, in bytes from the start of the file.
    pub(super) fn offset(&self) -> u64 {
        self.window_start.saturating_add(len_u64(self.used))
    }

    /// Bytes from the cursor to the end of the file.
    pub(super) fn remaining(&self) -> u64 {
        self.source.len().saturating_sub(self.offset())
    }

    /// The next `len` bytes; the caller has compared `len` with a limit.
    async fn bytes(&mut self, len: u64) -> Result<&[u8], ModelFileError> {
        self.check_left(len)?;
        let need = to_usize(self.file, &self.field, len)?;
        if self.window.len().saturating_sub(self.used) < need {
            let offset = self.offset();
            let ahead = usize::try_from(self.remaining()).unwrap_or(usize::MAX).min(need.max(READ_BYTES));
            self.window = read_exact(self.source, self.file, &self.field, offset, ahead).await?;
            self.window_start = offset;
            self.used = 0;
        }
        let start = self.used;
        self.used = start.saturating_add(need);
        Ok(self.window.get(start..self.used).unwrap_or_default())
    }

    /// An error unless `len` bytes are left.
    pub(super) fn check_left(&self, len: u64) -> Result<(), ModelFileError> {
        if len <= self.remaining() {
            return Ok(());
        }
        Err(ModelFileError::Truncated {
            file: self.file.to_owned(),
            field: self.field.clone(),
            offset: self.offset(),
            need: len,
            have: self.remaining(),
        })
    }

    /// Moves over `len` bytes that must exist.
    pub(super) fn skip(&mut self, len: u64) -> Result<(), ModelFileError> {
        self.check_left(len)?;
        let target = self.offset().saturating_add(len);
        match usize::try_from(target.saturating_sub(self.window_start)) {
            Ok(used) if used <= self.window.len() => self.used = used,
            _ => {
                self.window.clear();
                self.used = 0;
                self.window_start = target;
            }
        }
        Ok(())
    }

    /// The next `N` bytes.
    pub(super) async fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelFileError> {
        let mut array = [0; N];
        for (to, from) in array.iter_mut().zip(self.bytes(len_u64(N)).await?) {
            *to = *from;
        }
        Ok(array)
    }

    /// A little-endian u32.
    pub(super) async fn u32(&mut self) -> Result<u32, ModelFileError> {
        self.array().await.map(u32::from_le_bytes)
    }

    /// A little-endian u64.
    pub(super) async fn u64(&mut self) -> Result<u64, ModelFileError> {
        self.array().await.map(u64::from_le_bytes)
    }

    /// A little-endian u64 of at most `cap`; `what` says what it counts.
    pub(super) async fn count(&mut self, what: &str, cap: u64) -> Result<u64, ModelFileError> {
        let count = self.u64().await?;
        at_most(self.file, &format!("{} {what}", self.field), count, cap)
    }

    /// A length and as many bytes of UTF-8.
    pub(super) async fn string(&mut self, cap: u64) -> Result<String, ModelFileError> {
        let len = self.count("length", cap).await?;
        let bytes = self.bytes(len).await?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => {
                let value = quoted(&String::from_utf8_lossy(bytes));
                Err(self.invalid(value, "UTF-8"))
            }
        }
    }

    /// `len` bytes, which the caller has compared with a limit, if they are UTF-8.
    pub(super) async fn text(&mut self, len: u64) -> Result<Option<String>, ModelFileError> {
        Ok(std::str::from_utf8(self.bytes(len).await?).ok().map(str::to_owned))
    }

    /// The current field holds `value`, which breaks a rule.
    pub(super) fn invalid(&self, value: String, expected: impl Into<String>) -> ModelFileError {
        ModelFileError::Invalid {
            file: self.file.to_owned(),
            field: self.field.clone(),
            value,
            expected: expected.into(),
        }
    }
}

/// The nearest f32.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "there is no other way from f64 to the nearest f32"
)]
pub(super) fn nearest(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::panic, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::model_file::BytesSource;
    use pollster::block_on;

    #[test]
    fn reads_and_skips_across_windows() {
        // Numbers at odd places, so that one lies across the end of each window.
        let bytes: Vec<u8> = std::iter::once(9).chain((0..400_000_u64).flat_map(u64::to_le_bytes)).collect();
        let source = BytesSource::new(bytes);
        let mut reader = Reader::new(&source, "f");
        assert_eq!(block_on(reader.array()).unwrap(), [9_u8]);
        for number in 0..200_000 {
            assert_eq!(block_on(reader.u64()).unwrap(), number);
        }
        reader.skip(8 * 100_000).unwrap();
        reader.skip(8).unwrap();
        assert_eq!(block_on(reader.u64()).unwrap(), 300_001);
        assert_eq!(reader.offset(), 1 + 8 * 300_002);
        assert_eq!(reader.remaining(), 8 * (400_000 - 300_002));
    }

    #[test]
    fn refuses_to_pass_the_end_and_stays_where_it_is() {
        let source = BytesSource::new([1, 0, 0, 0, 7]);
        let mut reader = Reader::new(&source, "f");
        reader.enter("x");
        assert_eq!(block_on(reader.u32()).unwrap(), 1);
        let error = block_on(reader.u32()).unwrap_err().to_string();
        assert_eq!(error, "\"f\": x at offset 4 needs 4 bytes, the file has 1 left");
        assert!(reader.skip(2).is_err());
        assert_eq!(block_on(reader.array()).unwrap(), [7_u8]);
        reader.skip(0).unwrap();
        assert!(reader.skip(u64::MAX).is_err());
    }

    #[test]
    fn compares_a_length_with_its_limit_before_the_file() {
        let source = BytesSource::new(u64::MAX.to_le_bytes());
        let mut reader = Reader::new(&source, "f");
        reader.enter("x");
        let error = block_on(reader.string(10)).unwrap_err();
        assert!(matches!(error, ModelFileError::OverCap { value: u64::MAX, cap: 10, .. }), "{error}");
    }
}
