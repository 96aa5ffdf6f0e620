//! Untrusted bytes in, a typed and validated model description and its weights out.
//!
//! Everything a file says passes one bounded reader (`reader.rs`) and one validation (`config/`)
//! here, so the rooms below can trust what they get. Offsets are u64 and become `usize` at the last
//! moment, reading is async over [`Source`], and nothing of this room depends on an operating system
//! except the file sources: the browser runs the same code.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]

mod adapter;
mod checkpoint;
mod config;
mod dtype;
mod embedded;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
mod gguf;
#[cfg(not(target_arch = "wasm32"))]
mod hub;
mod json;
mod names;
mod order;
mod parsed;
mod pick;
mod reader;
mod safetensors;
mod sampling;
mod sniff;
mod source;
mod synthetic;
mod tensor;
mod tokenizer_source;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::ops::Range;

use adapter::Adapter;
use parsed::{Located, Parsed, from_gguf, from_safetensors, map_weights};
use pick::Primary;
use reader::to_usize;
use sniff::Weights;

pub use config::{
    Activation, Architecture, Biases, Config, Heads, RopeDivisors, RopeScaling, Rotation, Scoring,
};
#[cfg(feature = "convert")]
pub(crate) use config::{llama3_divisors, original_llama3};
pub use dtype::{BLOCK, Block, Blocks, Dtype, Encoding};
pub use embedded::EMBEDDED;
pub use error::ModelFileError;
pub(crate) use error::{QUOTED_CHARS, cut, quoted};
pub use names::{LayerWeight, WeightName};
#[cfg(feature = "convert")]
pub(crate) use reader::MAX_TOKENIZER_BYTES;
pub use sampling::SamplingHints;
pub(crate) use sniff::without_bom;
#[cfg(not(target_arch = "wasm32"))]
pub use source::FileSource;
pub use source::{BytesSource, FileSet, ReadFuture, Shareable, Source};
pub use tensor::TensorInfo;
pub use tokenizer_source::{GgufTokenizer, TokenizerSource};

/// The key of config.json, and of GGUF metadata, for the cache policy recorded with a model.
const POLICY_KEYS: (&str, &str) = ("killick_policy", "killick.policy");

/// The format of the weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Safetensors with a config.json.
    Safetensors,
    /// GGUF.
    Gguf {
        /// The file's version, 2 or 3.
        version: u32,
    },
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Safetensors => f.write_str("safetensors"),
            Self::Gguf { version } => write!(f, "gguf v{version}"),
        }
    }
}

/// A model's files: read, checked, and ready to give out weights.
pub struct ModelFile {
    /// The validated description.
    pub config: Config,
    format: Format,
    files: FileSet,
    tensors: Vec<TensorInfo>,
    weights: BTreeMap<WeightName, Located>,
    tokenizer: TokenizerSource,
    chat_template: Option<String>,
    policy: Option<serde_json::Value>,
    sampling: SamplingHints,
    adapters: Vec<Adapter>,
}

impl ModelFile {
    /// Reads headers, config and tokenizer, and checks that every weight is there with its shape.
    ///
    /// Weights are not read yet, but where a checkpoint says that its output is tied to the embedding and stores both: these two are
    /// compared, about 1 MiB at a time, up to the first difference.
    ///
    /// # Errors
    /// Any [`ModelFileError`]; it names the file and the field.
    pub async fn open(files: FileSet) -> Result<Self, ModelFileError> {
        Self::read(files).await.map_err(sniff::cut_short)
    }

    async fn read(files: FileSet) -> Result<Self, ModelFileError> {
        let primary = files.primary()?;
        let (parsed, name) = match &primary {
            Primary::Index(index) => (from_safetensors(&files, &primary).await?, index.as_str()),
            Primary::Parts(parts) => {
                let first = parts.first().map_or(files.label(), String::as_str);
                (from_gguf(gguf::parse_parts(&files, parts).await?)?, first)
            }
            Primary::Weights(name) => {
                let source = files.find(name)?.ok_or_else(|| missing(files.label(), "a model file"))?;
                let parsed = match sniff::weights(source.as_ref(), name).await? {
                    Weights::Safetensors => from_safetensors(&files, &primary).await?,
                    Weights::Gguf => {
                        let gguf = gguf::parse(source.as_ref(), name).await?;
                        gguf::check_alone(&gguf.metadata)?;
                        from_gguf(gguf)?
                    }
                };
                (parsed, name.as_str())
            }
        };
        let weights = map_weights(&parsed, name)?;
        let Parsed { config, format, tensors, tokenizer, chat_template, policy, sampling, foreign: _ } =
            parsed;
        Ok(Self {
            config,
            format,
            files,
            tensors,
            weights,
            tokenizer,
            chat_template,
            policy,
            sampling,
            adapters: Vec::new(),
        })
    }

    /// Adds a LoRA adapter in PEFT's layout (`adapter_config.json` and `adapter_model.safetensors`) or as GGUF, times `scale`: from now
    /// on the weights it changes read as if it had been merged into them. Any number of adapters may be added.
    ///
    /// # Errors
    /// Files that are broken, that are not a plain LoRA of projections, or that do not fit the model.
    pub async fn add_adapter(&mut self, files: FileSet, scale: f32) -> Result<(), ModelFileError> {
        let adapter = Adapter::open(files, scale, &self.config).await?;
        // One that adds nothing is no adapter: it brings no policy, and takes no weight out of its blocks.
        if scale != 0.0 {
            self.adapters.push(adapter);
        }
        Ok(())
    }

    /// The adapters added so far: what messages call them, the number of tensors they change, and the scale.
    pub fn adapters(&self) -> impl Iterator<Item = (&str, usize, f32)> {
        self.adapters.iter().map(|adapter| (adapter.label(), adapter.changes(), adapter.scale))
    }

    /// [`ModelFile::open`] on a folder or file of this machine.
    ///
    /// # Errors
    /// As [`FileSet::from_path`] and [`ModelFile::open`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open_path(path: &std::path::Path) -> Result<Self, ModelFileError> {
        pollster::block_on(Self::open(FileSet::from_path(path)?))
    }

    /// The format of the weight file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What messages and reports call this model.
    pub fn label(&self) -> &str {
        self.files.label()
    }

    /// All tensors in file order, also those the model does not use.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of a weight, which may hold others as well; `None` for what the model lacks, such as a tied output.
    pub fn weight(&self, name: WeightName) -> Option<&TensorInfo> {
        self.tensors.get(self.weights.get(&name)?.tensor)
    }

    /// Rows of a weight as f32, row-major, `rows.len() * columns` values.
    ///
    /// Rows of Q and K are in the rotate-half order of Hugging Face checkpoints, whatever the file's order, and gains are what a norm
    /// multiplies with, also where a file stores them less one.
    /// The caller bounds the memory by the number of rows; beyond that about 1 MiB is read at a time.
    ///
    /// # Errors
    /// [`ModelFileError::Missing`] for a weight the model lacks, [`ModelFileError::OverCap`] for rows it lacks,
    /// [`ModelFileError::Io`] if the source fails.
    pub async fn read_rows(&self, name: WeightName, rows: Range<u32>) -> Result<Vec<f32>, ModelFileError> {
        let (tensor, columns, stored) = self.stored_rows(name, rows.clone())?;
        let read = async |stored, out: &mut _| tensor.read_rows(&self.files, columns, stored, out).await;
        let mut out = order::rows(tensor, columns, stored, self.interleaved(name), read).await?;
        if name.is_gain() && self.stores_gains_less_one() {
            out.iter_mut().for_each(|gain| *gain += 1.0);
        }
        for adapter in &self.adapters {
            adapter.add_to(name, rows.clone(), columns, &mut out).await?;
        }
        Ok(out)
    }

    /// Whether the gains of norms are stored less one, as a checkpoint of Gemma has them.
    fn stores_gains_less_one(&self) -> bool {
        self.config.architecture.conventions().is_gemma && !matches!(self.format, Format::Gguf { .. })
    }

    /// Rows of a weight as the file stores them, in the order of [`ModelFile::read_rows`]; what adapters change of them is not in it.
    ///
    /// # Errors
    /// As [`ModelFile::read_rows`].
    pub async fn read_stored(
        &self,
        name: WeightName,
        rows: Range<u32>,
    ) -> Result<(Dtype, Vec<u8>), ModelFileError> {
        let (tensor, columns, stored) = self.stored_rows(name, rows)?;
        let row_bytes = tensor.dtype.bytes_of(reader::len_u64(columns)).unwrap_or_default();
        let row_bytes = to_usize(&tensor.file, &tensor.field(), row_bytes)?;
        let read = async |stored, out: &mut _| tensor.read_bytes(&self.files, columns, stored, out).await;
        Ok((tensor.dtype, order::rows(tensor, row_bytes, stored, self.interleaved(name), read).await?))
    }

    /// How the file stores a weight; `None` if it lacks the weight or an adapter changes it.
    pub fn stored_dtype(&self, name: WeightName) -> Option<Dtype> {
        let is_changed = self.adapters.iter().any(|adapter| adapter.touches(name));
        self.weight(name).filter(|_| !is_changed).map(|tensor| tensor.dtype)
    }

    /// The tensor that holds a weight, the weight's columns, and which of the tensor's rows are the weight's `rows`.
    fn stored_rows(
        &self,
        name: WeightName,
        rows: Range<u32>,
    ) -> Result<(&TensorInfo, usize, Range<u32>), ModelFileError> {
        let lacks = || missing(self.label(), &self.tensor_name(name));
        let located = self.weights.get(&name).ok_or_else(lacks)?;
        let tensor = self.tensors.get(located.tensor).ok_or_else(lacks)?;
        let (n_rows, columns) = name.shape(&self.config);
        let field = tensor.field();
        reader::at_most(
            &tensor.file,
            &format!("the last row asked of {field}"),
            rows.end.into(),
            n_rows.into(),
        )?;
        let columns = to_usize(&tensor.file, &field, columns.into())?;
        let first = located.first_row;
        Ok((tensor, columns, first.saturating_add(rows.start)..first.saturating_add(rows.end)))
    }

    /// The width of the heads of a weight whose rows the file has interleaved, if it has.
    fn interleaved(&self, name: WeightName) -> Option<u32> {
        order::interleaved(name, &self.config).filter(|_| matches!(self.format, Format::Gguf { .. }))
    }

    /// What each rotary frequency is divided by, if the file says so number by number.
    ///
    /// # Errors
    /// As [`ModelFile::read_rows`], and [`ModelFileError::Invalid`] for a number that is not above 0.
    pub async fn rope_divisors(&self) -> Result<Option<RopeDivisors>, ModelFileError> {
        Ok(match (self.config.rope_scaling, &self.config.rope_factors) {
            (RopeScaling::Divisors, _) => {
                Some(RopeDivisors { short: self.divisors(WeightName::RopeDivisors).await?, long: None })
            }
            (RopeScaling::LongRope { .. }, None) => Some(RopeDivisors {
                short: self.divisors(WeightName::ShortDivisors).await?,
                long: Some(self.divisors(WeightName::LongDivisors).await?),
            }),
            (_, factors) => factors.clone(),
        })
    }

    /// One list of [`Self::rope_divisors`], of a tensor.
    async fn divisors(&self, name: WeightName) -> Result<Vec<f32>, ModelFileError> {
        let divisors = self.read_rows(name, 0..1).await?;
        match divisors.iter().find(|divisor| !(divisor.is_normal() && **divisor > 0.0)) {
            Some(divisor) => Err(ModelFileError::Invalid {
                file: self.label().to_owned(),
                field: self.tensor_name(name),
                value: divisor.to_string(),
                expected: "numbers above 0".to_owned(),
            }),
            None => Ok(divisors),
        }
    }

    /// The tokenizer the files hold.
    pub fn tokenizer(&self) -> &TokenizerSource {
        &self.tokenizer
    }

    /// The chat template the files hold, a Jinja text of at most 256 KiB.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// The cache policy recorded with the model, a JSON object: `killick_policy` in config.json, or the
    /// string `killick.policy` in GGUF metadata. That of an adapter replaces it, the last one's if several have one.
    pub fn policy(&self) -> Option<&serde_json::Value> {
        self.adapters.iter().rev().find_map(|adapter| adapter.policy.as_ref()).or(self.policy.as_ref())
    }

    /// How the makers of the model want its tokens drawn.
    pub fn sampling(&self) -> SamplingHints {
        self.sampling
    }

    fn tensor_name(&self, name: WeightName) -> String {
        tensor::field(&name.place(&self.config, matches!(self.format, Format::Gguf { .. })).tensor)
    }
}

fn missing(file: &str, field: &str) -> ModelFileError {
    ModelFileError::Missing { file: file.to_owned(), field: field.to_owned() }
}
