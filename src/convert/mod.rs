//! A model from one form into another: GGUF or a safetensors folder, weights kept, rounded or quantised, adapters merged,
//! tokenizer, chat template and cache policy carried along.
//!
//! ```text
//! layout.rs       which tensors the new file has, and their rows, whatever the old one was
//! gguf.rs         the head of a GGUF file
//! safetensors.rs  the head of a safetensors file, and config.json
//! tokenizer/      the tokenizer, from either form into either
//! staged.rs       a file or folder that appears whole or not at all
//! ```
//!
//! Weights pass a piece at a time. Before it gets its name, what was written is opened again by the readers that will open
//! it later, and must describe the same function: so a field that one of the formats cannot express is an error here, not
//! another model there.

mod gguf;
mod layout;
mod safetensors;
mod staged;
mod tokenizer;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::model_file::{Architecture, Config, Encoding, ModelFile, ModelFileError, RopeScaling};
use crate::tokenizer::{Tokenizer, TokenizerError};
use layout::Layout;
use staged::Staged;

/// The form of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder with `model.safetensors`, `config.json` and the tokenizer.
    Safetensors,
    /// One GGUF file, version 3.
    Gguf,
}

/// How to convert.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertOptions {
    /// The form of the output.
    pub form: Form,
    /// How matrices are stored; norms and biases are always 32-bit. A matrix whose rows are not whole blocks becomes 16-bit.
    pub encoding: Encoding,
    /// The cache policy to record, a JSON object as in `killick_policy`; [`ModelFile::policy`] keeps what there was.
    pub policy: Option<serde_json::Value>,
    /// Whether to replace an output that exists: a file, or a folder with nothing in it but a model.
    pub force: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Tensors.
    pub tensors: usize,
    /// Matrices that became 16-bit because their rows are not whole blocks.
    pub unquantised: usize,
    /// Bytes of the weights.
    pub bytes: u64,
}

/// Why a model was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The model.
    #[error(transparent)]
    File(#[from] ModelFileError),
    /// Its tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The operating system refused to write.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The output is there already, and [`ConvertOptions::force`] is not set.
    #[error("{} exists", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The output is a folder with more than a model in it.
    #[error("{} holds {found:?}, which is no part of a model; name another folder", path.display())]
    NotOnlyAModel {
        /// The output.
        path: PathBuf,
        /// An entry that does not belong to a model.
        found: String,
    },
    /// A weight that the stored type cannot hold.
    #[error(
        "{file}: tensor {tensor:?} of the output would hold {value}, which {encoding:?} cannot; convert to {}",
        if *encoding == Encoding::BF16 { "f32" } else { "bf16 or f32" }
    )]
    NotStorable {
        /// What messages call the input.
        file: String,
        /// The tensor.
        tensor: String,
        /// The weight.
        value: f32,
        /// The type.
        encoding: Encoding,
    },
    /// Blocks in safetensors, which knows none.
    #[error("{encoding:?} needs the form gguf: safetensors has no blocks")]
    NeedsGguf {
        /// The type.
        encoding: Encoding,
    },
    /// Broken off by the caller.
    #[error("{}: stopped before it was finished; nothing was written", path.display())]
    Cancelled {
        /// The output.
        path: PathBuf,
    },
    /// Something that the new form has no words for.
    #[error("{what} cannot be expressed in {form}: {reason}")]
    Inexpressible {
        /// What it is.
        what: String,
        /// The form.
        form: &'static str,
        /// Why.
        reason: String,
    },
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "config.json",
            Self::Gguf => "GGUF",
        }
    }

    fn inexpressible(self, what: impl Into<String>, reason: impl Into<String>) -> ConvertError {
        ConvertError::Inexpressible { what: what.into(), form: self.name(), reason: reason.into() }
    }
}

/// Writes `file`, adapters merged, to `output`. `progress` is told bytes done and bytes in all, at the end once more after what
/// was written has been read back, and may break it off.
///
/// # Errors
/// [`ConvertError::Cancelled`] by `progress`, with nothing left of the output.
/// An output that exists, a weight that the type cannot hold, a setting or a tokenizer that the form cannot express, a
/// model that cannot be read, a disk that cannot be written.
pub fn convert(
    file: &ModelFile,
    output: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Converted, ConvertError> {
    let ConvertOptions { form, encoding, policy, force } = options;
    if *form == Form::Safetensors && matches!(encoding, Encoding::Q8_0 | Encoding::Q4_0) {
        return Err(ConvertError::NeedsGguf { encoding: *encoding });
    }
    let layout = Layout::new(file, *form, *encoding)?;
    let carried = tokenizer::carry(file, *form)?;
    let staged = Staged::new(output, *form == Form::Safetensors, *force)?;
    match form {
        Form::Gguf => {
            let head = gguf::head(file, &layout, &carried, policy.as_ref())?;
            staged.write("", |out| {
                out.write_all(&head)?;
                layout.write(file, gguf::ALIGNMENT, out, progress)
            })?;
        }
        Form::Safetensors => {
            let head = safetensors::head(&layout);
            staged.write("model.safetensors", |out| {
                out.write_all(&head)?;
                layout.write(file, 1, out, progress)
            })?;
            let config = safetensors::config(file, &layout, policy.as_ref())?;
            for (name, bytes) in carried.files().into_iter().chain([("config.json", config)]) {
                staged.write(name, |out| Ok(out.write_all(&bytes)?))?;
            }
        }
    }
    let written = ModelFile::open_path(staged.path())?;
    same_function(file, &written, *form)?;
    if written.policy() != policy.as_ref() {
        return Err(form.inexpressible("the policy", "it reads back differently"));
    }
    tokenizer::same_ids(file, &written, *form)?;
    let done = layout.summary();
    if progress(done.bytes, done.bytes).is_break() {
        return Err(ConvertError::Cancelled { path: output.to_owned() });
    }
    staged.finish()?;
    Ok(done)
}

/// What writing weights fails of.
enum WriteError {
    Io(io::Error),
    Convert(ConvertError),
    Cancelled,
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ConvertError> for WriteError {
    fn from(error: ConvertError) -> Self {
        Self::Convert(error)
    }
}

impl From<ModelFileError> for WriteError {
    fn from(error: ModelFileError) -> Self {
        Self::Convert(error.into())
    }
}

/// Asserts that both configs describe one function; names the first field in which they differ.
fn same_function(old: &ModelFile, new: &ModelFile, form: Form) -> Result<(), ConvertError> {
    let (old, mut new) = (old.config.clone(), new.config.clone());
    if old.eos_tokens.is_empty() {
        // The tokenizer's is all that either says.
        new.eos_tokens.clear();
    }
    let (old, new) = (comparable(old), comparable(new));
    match old.iter().find(|(key, value)| new.get(*key) != Some(value)) {
        Some((key, value)) => {
            let read = new.get(key).map_or_else(|| "nothing".to_owned(), ToString::to_string);
            Err(form.inexpressible(format!("{key} = {value}"), format!("it reads back as {read}")))
        }
        None => Ok(()),
    }
}

/// A config without what does not change the function: Mistral's name, which GGUF does not know, the order of the tokens
/// that end a text, how the scaling of Llama 3 is written down (`layout.rs` and `safetensors.rs` see to it), and the token
/// that begins a text, which the tokenizer puts there or does not.
fn comparable(mut config: Config) -> serde_json::Map<String, serde_json::Value> {
    config.bos_token = None;
    if config.architecture == Architecture::Mistral {
        config.architecture = Architecture::Llama;
    }
    if matches!(config.rope_scaling, RopeScaling::Llama3 { .. }) {
        config.rope_scaling = RopeScaling::Divisors;
    }
    // A list of config.json is a tensor of GGUF.
    config.rope_factors = None;
    config.eos_tokens.sort_unstable();
    match serde_json::to_value(&config) {
        Ok(serde_json::Value::Object(fields)) => fields,
        other => unreachable!("a config is an object of JSON, not {other:?}"),
    }
}

/// The tokenizer of a model, if it has one.
fn tokenizer_of(file: &ModelFile) -> Result<Option<Tokenizer>, ConvertError> {
    match file.tokenizer() {
        crate::model_file::TokenizerSource::None => Ok(None),
        source => Ok(Some(Tokenizer::from_source(source, file.label())?)),
    }
}
