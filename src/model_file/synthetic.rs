//! A model that nobody trained: weights of a known shape, made while they are read.
//!
//! What a model costs depends on its shape and not on what it has learned, so a benchmark of 7 billion parameters needs no file of 13 GB.
//! The made-up files are a `config.json` and a `model.safetensors` like any others, and the one reader and the one loader serve: here is only
//! a [`Source`] that knows what stands where. The weights are pseudo-random and of such a size that numbers neither vanish nor grow.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use half::f16;
use serde_json::{Map, Value, json};

use super::Dtype;
use super::config::Config;
use super::error::ModelFileError;
use super::names::WeightName;
use super::reader::len_u64;
use super::source::{BytesSource, FileSet, ReadFuture, Source};
use super::tensor::byte_len;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Bytes that are cut out of a pattern at a time, at a place that hangs on where they go.
const BLOCK_BYTES: u64 = 8 << 10;
/// Numbers of a pattern; all places of a block in it are different weights.
const PATTERN_NUMBERS: usize = 64 << 10;

/// What stands in a range of the file.
struct Piece {
    start: u64,
    end: u64,
    seed: u64,
    pattern: Arc<[u8]>,
}

/// The weights as a file.
struct SyntheticSource {
    header: Vec<u8>,
    pieces: Vec<Piece>, // in order, one right after the other
    len: u64,
}

impl FileSet {
    /// A model with the shape that `config` says, the text of a `config.json`, and pseudo-random 16-bit weights; without a tokenizer.
    ///
    /// # Errors
    /// The config is none, or not one of a supported model.
    pub fn synthetic(label: impl Into<String>, config: &str) -> Result<Self, ModelFileError> {
        let shape = Config::from_config_json(config.as_bytes())?;
        let mut files: BTreeMap<String, Arc<dyn Source>> = BTreeMap::new();
        files.insert(CONFIG.to_owned(), Arc::new(BytesSource::new(config.as_bytes())));
        files.insert(WEIGHTS.to_owned(), Arc::new(SyntheticSource::new(&shape)?));
        Ok(Self::new(label, files))
    }
}

impl SyntheticSource {
    fn new(config: &Config) -> Result<Self, ModelFileError> {
        let (mut header, mut pieces, mut patterns) = (Map::new(), Vec::new(), BTreeMap::new());
        let mut next = 0_u64;
        for name in WeightName::all(config) {
            let place = name.place(config, false);
            // Weights that are stacked share one tensor.
            if header.contains_key(&place.tensor) {
                continue;
            }
            let (_, columns) = name.shape(config);
            let (rows, columns) = (u64::from(place.rows), u64::from(columns));
            let shape =
                if name.is_vector() { vec![rows.saturating_mul(columns)] } else { vec![rows, columns] };
            let bytes = byte_len(Dtype::F16, &shape).map_err(|expected| ModelFileError::Invalid {
                file: WEIGHTS.to_owned(),
                field: place.tensor.clone(),
                value: format!("{shape:?}"),
                expected,
            })?;
            let (start, end) = (next, next.saturating_add(bytes));
            header.insert(
                place.tensor,
                json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] }),
            );
            let kind = Numbers::of(name, config);
            let pattern = patterns.entry(kind).or_insert_with(|| kind.pattern()).clone();
            pieces.push(Piece { start, end, seed: len_u64(pieces.len()), pattern });
            next = end;
        }
        let mut text = Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut header = len_u64(text.len()).to_le_bytes().to_vec();
        header.extend(text);
        let before = len_u64(header.len());
        for piece in &mut pieces {
            piece.start = piece.start.saturating_add(before);
            piece.end = piece.end.saturating_add(before);
        }
        Ok(Self { header, pieces, len: next.saturating_add(before) })
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let too_far = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let end = offset.checked_add(len_u64(len)).filter(|end| *end <= self.len).ok_or_else(too_far)?;
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let some = match usize::try_from(at).ok().and_then(|at| self.header.get(at..)) {
                Some(header) if !header.is_empty() => header,
                _ => self.block(at).ok_or_else(too_far)?,
            };
            let rest = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let some = some.get(..rest).unwrap_or(some);
            bytes.extend_from_slice(some);
            at = at.saturating_add(len_u64(some.len()));
        }
        Ok(bytes)
    }

    /// What stands from `at` to the end of its block.
    fn block(&self, at: u64) -> Option<&[u8]> {
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.end <= at))?;
        let within = at.checked_sub(piece.start)?;
        let (number, from) = (within.checked_div(BLOCK_BYTES)?, within.checked_rem(BLOCK_BYTES)?);
        let places = len_u64(piece.pattern.len()).checked_sub(BLOCK_BYTES)?.checked_div(2)?;
        let place = mixed(piece.seed ^ number.rotate_left(32)).checked_rem(places.max(1))?.checked_mul(2)?;
        let rest = BLOCK_BYTES.saturating_sub(from).min(piece.end.saturating_sub(at));
        let first = usize::try_from(place.checked_add(from)?).ok()?;
        piece.pattern.get(first..first.checked_add(usize::try_from(rest).ok()?)?)
    }
}

impl Source for SyntheticSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(std::future::ready(self.read(offset, len)))
    }
}

/// What the numbers of a weight are like.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Numbers {
    /// Gains and divisors are 1.
    Ones,
    /// The same where gains are stored less one.
    Zeros,
    /// Biases are small.
    Small,
    /// A matrix of so many columns keeps the size of what it is multiplied with.
    Columns(u32),
}

impl Numbers {
    fn of(name: WeightName, config: &Config) -> Self {
        match name {
            WeightName::Bias(..) => Self::Small,
            WeightName::RopeDivisors | WeightName::ShortDivisors | WeightName::LongDivisors => Self::Ones,
            gain if gain.is_gain() && config.architecture.conventions().is_gemma => Self::Zeros,
            gain if gain.is_gain() => Self::Ones,
            WeightName::TokenEmbedding
            | WeightName::Output
            | WeightName::Layer(..)
            | WeightName::OutputNorm => Self::Columns(name.shape(config).1),
        }
    }

    /// Uniform numbers, as 16-bit floats.
    fn pattern(self) -> Arc<[u8]> {
        let most = match self {
            Self::Ones => return f16::ONE.to_le_bytes().repeat(PATTERN_NUMBERS).into(),
            Self::Zeros => 0.0,
            Self::Small => 0.02,
            // Uniform numbers up to sqrt(3 / n) have a variance of 1 / n.
            Self::Columns(columns) => (3.0 / f64::from(columns.max(1))).sqrt(),
        };
        let number = |i: usize| {
            let high = u32::try_from(mixed(len_u64(i)) >> 32).unwrap_or_default();
            f16::from_f64(most * (f64::from(high) / f64::from(1_u32 << 31) - 1.0))
        };
        (0..PATTERN_NUMBERS).flat_map(|i| number(i).to_le_bytes()).collect()
    }
}

/// A number's bits mixed (`SplitMix64`).
fn mixed(bits: u64) -> u64 {
    let z = bits.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_file::ModelFile;

    const TINY: &str = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "num_hidden_layers": 2, "vocab_size": 4100, "max_position_embeddings": 128, "rms_norm_eps": 1e-5}"#;

    #[test]
    #[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
    fn its_weights_are_read_like_those_of_a_file_and_are_the_same_wherever_a_read_begins() {
        let files = FileSet::synthetic("tiny", TINY).unwrap();
        let source = files.get(WEIGHTS).unwrap().clone();
        let len = usize::try_from(source.len()).unwrap();
        let whole = pollster::block_on(source.read_at(0, len)).unwrap();
        for (from, some) in [(0, 9), (len / 2 - 3, 20_000), (len - 1, 1), (len, 0)] {
            let read = pollster::block_on(source.read_at(len_u64(from), some)).unwrap();
            assert!(read == whole[from..from + some], "{some} bytes from {from}");
        }
        assert!(pollster::block_on(source.read_at(source.len(), 1)).is_err());

        let file = pollster::block_on(ModelFile::open(files)).unwrap();
        assert!(!file.config.tied_embeddings);
        let gains = pollster::block_on(file.read_rows(WeightName::OutputNorm, 0..1)).unwrap();
        assert!(gains.len() == 32 && gains.iter().all(|gain| gain.to_bits() == 1.0_f32.to_bits()));
        let rows = pollster::block_on(file.read_rows(WeightName::Output, 0..4100)).unwrap();
        let mean_square = rows.iter().map(|value| f64::from(value * value)).sum::<f64>() / 131_200.0;
        assert!((0.9..1.1).contains(&(32.0 * mean_square)), "{mean_square}");
        assert_ne!(rows[..4096], rows[4096..8192]);
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a test may panic")]
    fn every_architecture_has_a_shape() {
        for name in ["llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma2", "gemma3_text"] {
            let config = TINY.replace("\"llama\"", &format!("{name:?}"));
            let files = FileSet::synthetic(name, &config).unwrap();
            let file = pollster::block_on(ModelFile::open(files)).unwrap();
            for weight in WeightName::all(&file.config) {
                assert!(file.weight(weight).is_some(), "{name}: {weight:?}");
            }
        }
        assert!(FileSet::synthetic("none", "{}").is_err());
    }
}
