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
mod pick;
mod reader;
mod safetensors;
mod sampling;
mod sniff;
mod source;
mod synthetic;
mod tensor;
mod tokenizer_source;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use adapter::Adapter;
use names::Extra;
use pick::Primary;
use reader::to_usize;
use safetensors::Foreign;
use sniff::Weights;

pub use config::{Architecture, Biases, Config, Heads, RopeScaling, Rotation};
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

/// Rows of a tensor.
struct Located {
    /// Index into the tensors.
    tensor: usize,
    first_row: u32,
}

/// What the header of either format yields.
struct Parsed {
    config: Config,
    format: Format,
    tensors: Vec<TensorInfo>,
    foreign: Vec<Foreign>,
    tokenizer: TokenizerSource,
    chat_template: Option<String>,
    policy: Option<serde_json::Value>,
    sampling: SamplingHints,
}

impl ModelFile {
    /// Reads headers, config and tokenizer, and checks that every weight is there with its shape.
    ///
    /// No weight is read yet.
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
    /// Rows of Q and K are in the rotate-half order of Hugging Face checkpoints, whatever the file's order.
    /// The caller bounds the memory by the number of rows; beyond that about 1 MiB is read at a time.
    ///
    /// # Errors
    /// [`ModelFileError::Missing`] for a weight the model lacks, [`ModelFileError::OverCap`] for rows it lacks,
    /// [`ModelFileError::Io`] if the source fails.
    pub async fn read_rows(&self, name: WeightName, rows: Range<u32>) -> Result<Vec<f32>, ModelFileError> {
        let (tensor, columns, stored) = self.stored_rows(name, rows.clone())?;
        let read = async |stored, out: &mut _| tensor.read_rows(&self.files, columns, stored, out).await;
        let mut out = order::rows(tensor, columns, stored, self.interleaved(name), read).await?;
        for adapter in &self.adapters {
            adapter.add_to(name, rows.clone(), columns, &mut out).await?;
        }
        Ok(out)
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

    /// What each rotary frequency is divided by (`rope_dim / 2` numbers above 0), if the file says so number by number.
    ///
    /// # Errors
    /// As [`ModelFile::read_rows`], and [`ModelFileError::Invalid`] for a number that is not above 0.
    pub async fn rope_divisors(&self) -> Result<Option<Vec<f32>>, ModelFileError> {
        if self.config.rope_scaling != RopeScaling::Divisors {
            return Ok(None);
        }
        let divisors = self.read_rows(WeightName::RopeDivisors, 0..1).await?;
        match divisors.iter().find(|divisor| !(divisor.is_normal() && **divisor > 0.0)) {
            Some(divisor) => Err(ModelFileError::Invalid {
                file: self.label().to_owned(),
                field: self.tensor_name(WeightName::RopeDivisors),
                value: divisor.to_string(),
                expected: "numbers above 0".to_owned(),
            }),
            None => Ok(Some(divisors)),
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

fn from_gguf(gguf: gguf::Gguf) -> Result<Parsed, ModelFileError> {
    let gguf::Gguf { version, metadata, tensors } = gguf;
    check_general_type(&metadata)?;
    let config = Config::from_gguf(&metadata, &tensors)?;
    let policy = policy_of_gguf(&metadata)?;
    Ok(Parsed {
        sampling: SamplingHints::from_gguf(&metadata, &metadata.file),
        chat_template: tokenizer_source::template_from_gguf(&metadata)?,
        tokenizer: tokenizer_source::from_gguf(metadata, config.vocab_size)?,
        config,
        format: Format::Gguf { version },
        tensors,
        foreign: Vec::new(),
        policy,
    })
}

/// The cache policy in a GGUF file's metadata.
fn policy_of_gguf(metadata: &gguf::Metadata) -> Result<Option<serde_json::Value>, ModelFileError> {
    let Some(text) = metadata.str(POLICY_KEYS.1)? else { return Ok(None) };
    let policy = json::parse(&metadata.file, &gguf::key_field(POLICY_KEYS.1), text.as_bytes())?;
    if !policy.is_object() {
        return Err(json::wrong_type(&metadata.file, gguf::key_field(POLICY_KEYS.1), &policy, "an object"));
    }
    Ok(Some(policy))
}

/// Refuses a GGUF file that says it is no model.
fn check_general_type(metadata: &gguf::Metadata) -> Result<(), ModelFileError> {
    let other = |what: &str, advice: &str| Err(sniff::other(&metadata.file, what, advice));
    // Some files name no type, and an odd one names none that is known.
    match metadata.str("general.type").unwrap_or_default() {
        Some("adapter") => other(
            "a LoRA adapter, not a model",
            "give it as --adapter, beside the model that it changes as --model",
        ),
        Some("mmproj" | "projector") => {
            other("a projector of images or sound (mmproj)", "name the model that it belongs to")
        }
        Some("imatrix") => other("an importance matrix for quantising, not a model", "name the model itself"),
        _ => Ok(()),
    }
}

/// The model whose weights `primary` leads to; config and tokenizer lie beside them.
async fn from_safetensors(files: &FileSet, primary: &Primary) -> Result<Parsed, ModelFileError> {
    const CONFIG: &str = "config.json";
    const GENERATION: &str = "generation_config.json";
    let read = async |name: &'static str| match files.find(name)? {
        Some(source) => {
            let bytes = sniff::read_json(source.as_ref(), name, reader::MAX_CONFIG_BYTES).await?;
            json::parse(name, "the file", &bytes).map(Some)
        }
        None => Ok(None),
    };
    // Before the tensors: of quantised ones it says what they are.
    let json = read(CONFIG).await?;
    let json = json.as_ref().map(|json| json::Object::root(CONFIG, json)).transpose()?;
    json.as_ref().map_or(Ok(()), checkpoint::check_config)?;
    let (mut header, name) = match primary {
        Primary::Index(index) => (safetensors::parse_shards(files, index).await?, index),
        Primary::Weights(name) => {
            let source = files.find(name)?.ok_or_else(|| missing(files.label(), name))?;
            (safetensors::parse(source.as_ref(), name).await?, name)
        }
        Primary::Parts(_) => return Err(missing(files.label(), "a safetensors file")),
    };
    checkpoint::check(&mut header, name)?;
    let safetensors::Header { mut tensors, foreign } = header;
    let json = json.ok_or_else(|| missing(files.label(), "config.json beside the weights"))?;
    let generation = read(GENERATION).await?;
    let generation = generation.as_ref().map(|value| json::Object::root(GENERATION, value)).transpose()?;
    let (embedding, output) = (WeightName::TokenEmbedding.huggingface(), WeightName::Output.huggingface());
    let has = |tensors: &[TensorInfo], name: &str| tensors.iter().any(|tensor| tensor.name == name);
    let mut config = Config::from_json(&json, generation.as_ref(), has(&tensors, &output))?;
    if config.tied_embeddings && !has(&tensors, &embedding) {
        // Tied is tied: one that is stored under the other's name is both, as in `transformers`.
        tensors
            .iter_mut()
            .filter(|tensor| tensor.name == output)
            .for_each(|tensor| tensor.name.clone_from(&embedding));
    }
    if config.tied_embeddings && checkpoint::differs(files, &tensors).await? {
        log::warn!(
            "{}: config.json ties the output to the embedding (tie_word_embeddings), but {name} stores another {output}; the stored \
             one is used, as transformers 5 does",
            files.label()
        );
        config.tied_embeddings = false;
    }
    let (tokenizer, chat_template) = tokenizer_source::from_files(files).await?;
    for id in tokenizer_source::turn_ends(&tokenizer, chat_template.as_deref()) {
        if id < config.vocab_size && !config.eos_tokens.contains(&id) {
            log::info!(
                "{}: token {id} ends a turn by the tokenizer's files, and config.json does not say so",
                files.label()
            );
            config.eos_tokens.push(id);
        }
    }
    json.object(POLICY_KEYS.0)?;
    let policy = json.get(POLICY_KEYS.0).cloned();
    let sampling = generation.as_ref().map(SamplingHints::from_json).unwrap_or_default();
    Ok(Parsed {
        config,
        format: Format::Safetensors,
        tensors,
        foreign,
        tokenizer,
        chat_template,
        policy,
        sampling,
    })
}

/// Finds every weight of the config among the tensors, and judges the tensors that are left.
fn map_weights(parsed: &Parsed, file: &str) -> Result<BTreeMap<WeightName, Located>, ModelFileError> {
    let Parsed { config, format, tensors, foreign, .. } = parsed;
    let by_name: BTreeMap<&str, usize> =
        tensors.iter().enumerate().map(|(index, t)| (t.name.as_str(), index)).collect();
    let (mut weights, mut used) = (BTreeMap::new(), BTreeSet::new());
    for name in WeightName::all(config) {
        let place = name.place(config, matches!(*format, Format::Gguf { .. }));
        let found = by_name
            .get(place.tensor.as_str())
            .and_then(|index| tensors.get(*index).map(|tensor| (*index, tensor)));
        let (index, tensor) =
            found.ok_or_else(|| match foreign.iter().find(|one| one.name == place.tensor) {
                Some(foreign) => foreign.needed(),
                None => names::missing(file, &place.tensor, tensors),
            })?;
        let (_, columns) = name.shape(config);
        let (rows, columns) = (u64::from(place.rows), u64::from(columns));
        let expected =
            if name.is_vector() { vec![rows.saturating_mul(columns)] } else { vec![rows, columns] };
        if tensor.shape != expected {
            let (file, found) = (tensor.file.to_string(), tensor.shape.clone());
            return Err(ModelFileError::Shape { file, field: tensor.field(), found, expected });
        }
        weights.insert(name, Located { tensor: index, first_row: place.first_row });
        used.insert(index);
    }
    let unused = tensors
        .iter()
        .enumerate()
        .filter(|(index, _)| !used.contains(index))
        .map(|(_, tensor)| tensor.name.as_str());
    for unused in unused.chain(foreign.iter().map(|one| one.name.as_str())) {
        let field = tensor::field(unused);
        match names::judge_extra(unused, config) {
            Extra::Harmless => log::debug!("{file}: {field} is not needed"),
            Extra::Unknown => log::warn!("{file}: {field} is unknown and ignored"),
            Extra::Changes => {
                let file = tensors
                    .iter()
                    .find(|tensor| tensor.name == unused)
                    .map_or(file, |tensor| &tensor.file)
                    .to_owned();
                let name = config.architecture.name();
                let value = format!("a weight that this {name} model should not have by its config");
                return Err(ModelFileError::Unsupported { file, field, value, supported: None });
            }
        }
    }
    Ok(weights)
}
