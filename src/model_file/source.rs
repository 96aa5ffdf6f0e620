//! Where the bytes of a model come from: memory, files, or a host's byte ranges.
//!
//! Weights are read once, by ranges, straight on their way to the GPU, so nothing is mapped into
//! memory: a file that shrinks while it is read is an error, not a signal, and the browser's
//! range requests fit the same trait.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use super::error::{ModelFileError, quoted};

/// The bytes of one read, some time later. Where programs have threads, it may move between them.
#[cfg(not(target_arch = "wasm32"))]
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + 'a>>;
/// The bytes of one read, some time later.
#[cfg(target_arch = "wasm32")]
pub type ReadFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + 'a>>;

/// What threads may share. In the browser, whose promises stay where they were made, that is everything.
#[cfg(not(target_arch = "wasm32"))]
pub trait Shareable: Send + Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + Sync + ?Sized> Shareable for T {}
/// What threads may share. In the browser, whose promises stay where they were made, that is everything.
#[cfg(target_arch = "wasm32")]
pub trait Shareable {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> Shareable for T {}

/// A sequence of bytes that can be read at any offset.
pub trait Source: Shareable {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Exactly `len` bytes from `offset` on, or an error.
    ///
    /// Callers ask only for what lies inside [`Source::len`].
    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_>;
}

/// Bytes that are already in memory.
#[derive(Debug, Clone)]
pub struct BytesSource(Arc<[u8]>);

impl BytesSource {
    /// Shares `bytes`.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }
}

impl Source for BytesSource {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(ready(copied(&self.0, offset, len)))
    }
}

/// Bytes that are a part of the program; they are not copied until they are read.
pub(super) struct StaticSource(pub(super) &'static [u8]);

impl Source for StaticSource {
    fn len(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(ready(copied(self.0, offset, len)))
    }
}

fn copied(bytes: &[u8], offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let found = usize::try_from(offset).ok().and_then(|start| bytes.get(start..start.checked_add(len)?));
    found.map(<[u8]>::to_vec).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// A file on disk, read with positioned reads.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Debug)]
pub struct FileSource {
    file: std::fs::File,
    len: u64,
}

#[cfg(not(target_arch = "wasm32"))]
impl FileSource {
    /// Opens a regular file.
    ///
    /// # Errors
    /// The system's error; `InvalidInput` for anything but a regular file (opening a pipe would wait for ever).
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = std::fs::File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }

    #[cfg(unix)]
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !bytes.is_empty() {
            let n = match self.file.seek_read(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            bytes = bytes.get_mut(n..).unwrap_or_default();
            offset = offset.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
        Ok(())
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let mut bytes = vec![0; len];
        let read = self.read_exact_at(&mut bytes, offset);
        Box::pin(ready(read.map(|()| bytes)))
    }
}

/// The files beside the weights that a model may have.
const COMPANIONS: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "added_tokens.json",
    "chat_template.jinja",
];

/// The index of a sharded checkpoint.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The file that holds the weights, or leads to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Primary {
    /// One GGUF or safetensors file; its first bytes say which.
    Weights(String),
    /// The index of a sharded safetensors checkpoint.
    Index(String),
}

/// The named files of one model, all from one folder.
#[derive(Clone)]
pub struct FileSet {
    label: String,
    files: BTreeMap<String, Arc<dyn Source>>,
}

impl FileSet {
    /// A model from `files` (plain name to bytes); `label` is what messages and reports call it.
    pub fn new(label: impl Into<String>, files: BTreeMap<String, Arc<dyn Source>>) -> Self {
        Self { label: label.into(), files }
    }

    /// A model whose files are in memory, labelled with the name of its weight file.
    pub fn from_bytes(files: BTreeMap<String, Vec<u8>>) -> Self {
        let shared = |bytes: Vec<u8>| -> Arc<dyn Source> { Arc::new(BytesSource::new(bytes)) };
        let mut set =
            Self::new("model", files.into_iter().map(|(name, bytes)| (name, shared(bytes))).collect());
        if let Ok(Primary::Weights(name) | Primary::Index(name)) = set.primary() {
            set.label = name;
        }
        set
    }

    /// A model on disk: a folder, one `.gguf` or `.safetensors` file, or the index of a sharded checkpoint.
    ///
    /// Beside a safetensors file or index, its folder is searched for the config, the tokenizer and shards.
    ///
    /// # Errors
    /// [`ModelFileError::Io`] if a file cannot be opened; [`ModelFileError::Invalid`] if a folder holds a symbolic
    /// link that leaves it. A link into `../../blobs` is followed: the Hugging Face cache is laid out that way.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_path(path: &std::path::Path) -> Result<Self, ModelFileError> {
        super::folder::open(path)
    }

    /// A LoRA adapter on disk: a folder with `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// # Errors
    /// As [`FileSet::from_path`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn adapter_from_path(path: &std::path::Path) -> Result<Self, ModelFileError> {
        super::folder::open_adapter(path)
    }

    /// What messages and reports call this model.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The file called `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Source>> {
        self.files.get(name)
    }

    /// The names of all files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Picks the weight file.
    ///
    /// One `model.safetensors` comes before an index and an index before other safetensors files, as in `transformers`.
    pub(super) fn primary(&self) -> Result<Primary, ModelFileError> {
        let ending = |end: &str| self.files.keys().filter(|name| name.ends_with(end)).collect::<Vec<_>>();
        let (gguf, safetensors) = (ending(".gguf"), ending(".safetensors"));
        let (pickled, others): (Vec<_>, Vec<_>) =
            self.files.keys().filter(|name| !is_model_file(name)).partition(|name| is_pickled(name));
        let has = |name: &str| self.files.contains_key(name);
        match (gguf.as_slice(), safetensors.as_slice(), others.as_slice()) {
            ([], _, _) if has("model.safetensors") => Ok(Primary::Weights("model.safetensors".to_owned())),
            ([], _, _) if has(INDEX) => Ok(Primary::Index(INDEX.to_owned())),
            ([one], [], _) if !has(INDEX) => Ok(Primary::Weights((*one).clone())),
            ([], [one], _) | ([], [], [one]) => Ok(Primary::Weights((*one).clone())),
            ([], [], []) if !pickled.is_empty() => Err(ModelFileError::Pickled {
                file: pickled.first().map(|name| (*name).clone()).unwrap_or_default(),
            }),
            ([], [], []) => Err(ModelFileError::Missing {
                file: self.label.clone(),
                field: "a model file (.gguf, .safetensors or model.safetensors.index.json)".to_owned(),
            }),
            _ => Err(ModelFileError::Invalid {
                file: self.label.clone(),
                field: "the list of model files".to_owned(),
                value: quoted(
                    &[gguf, safetensors, others]
                        .concat()
                        .iter()
                        .map(|name| name.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
                expected: "one model; name the file".to_owned(),
            }),
        }
    }
}

/// Whether a model in this folder may use a file of that name.
pub(super) fn is_model_file(name: &str) -> bool {
    is_companion(name) || name == INDEX || name.ends_with(".gguf") || name.ends_with(".safetensors")
}

/// Whether a file of that name holds weights as PyTorch pickles them.
pub(super) fn is_pickled(name: &str) -> bool {
    name.starts_with("pytorch_model") && (name.ends_with(".bin") || name.ends_with(".bin.index.json"))
        || name == PICKLED_ADAPTER
}

/// The weights of an adapter as old versions of PEFT wrote them.
pub(super) const PICKLED_ADAPTER: &str = "adapter_model.bin";

/// Whether the file is a config, a tokenizer or the like.
pub(super) fn is_companion(name: &str) -> bool {
    COMPANIONS.contains(&name)
}

/// Whether `name` can only mean a file in the same folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}
