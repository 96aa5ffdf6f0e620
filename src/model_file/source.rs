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

use super::error::ModelFileError;
use super::pick::{Primary, pick};
use super::sniff::other;

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

/// The named files of one model, all from one folder.
#[derive(Clone)]
pub struct FileSet {
    label: String,
    files: BTreeMap<String, Arc<dyn Source>>,
    /// Names that are there and cannot be read: what each is instead, and what to do. It matters only if the model needs one.
    unusable: BTreeMap<String, Unusable>,
    /// The weight file, where whoever named the files has picked it.
    picked: Option<Primary>,
}

/// What stands in the place of a file, and what to do about it.
#[derive(Debug, Clone)]
#[cfg_attr(target_arch = "wasm32", allow(dead_code, reason = "all files of a browser are there"))]
pub(super) struct Unusable {
    pub(super) what: String,
    pub(super) advice: String,
}

impl FileSet {
    /// A model from `files` (plain name to bytes); `label` is what messages and reports call it.
    pub fn new(label: impl Into<String>, files: BTreeMap<String, Arc<dyn Source>>) -> Self {
        Self { label: label.into(), files, unusable: BTreeMap::new(), picked: None }
    }

    /// The same, with names beside the files that cannot be read, and the weight file if it is known.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn beside(mut self, unusable: BTreeMap<String, Unusable>, picked: Option<Primary>) -> Self {
        (self.unusable, self.picked) = (unusable, picked);
        self
    }

    /// A model whose files are in memory, labelled with the name of its weight file.
    pub fn from_bytes(files: BTreeMap<String, Vec<u8>>) -> Self {
        let shared = |bytes: Vec<u8>| -> Arc<dyn Source> { Arc::new(BytesSource::new(bytes)) };
        let mut set =
            Self::new("model", files.into_iter().map(|(name, bytes)| (name, shared(bytes))).collect());
        match set.primary() {
            Ok(Primary::Weights(name) | Primary::Index(name)) => set.label = name,
            Ok(Primary::Parts(parts)) => set.label = parts.into_iter().next().unwrap_or_default(),
            Err(_) => {}
        }
        set
    }

    /// A model on disk: a folder, one `.gguf` or `.safetensors` file, any part of a split GGUF, the index of a sharded checkpoint,
    /// or the folder that the Hugging Face cache keeps for a model (`models--ORG--NAME`).
    ///
    /// Beside a safetensors file or index, its folder is searched for the config, the tokenizer and shards; beside a part for the
    /// others. Symbolic links are followed to regular files, wherever these are. Whatever else lies there does not matter.
    ///
    /// # Errors
    /// [`ModelFileError::Io`] if the path cannot be opened; else what the path is instead of a model.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn from_path(path: &std::path::Path) -> Result<Self, ModelFileError> {
        super::folder::open(path)
    }

    /// A LoRA adapter on disk: a folder with `adapter_config.json` and `adapter_model.safetensors`, either of these files, or a
    /// GGUF file as llama.cpp's converter of adapters writes it.
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

    /// The file called `name`, if there is one.
    ///
    /// # Errors
    /// One of that name that cannot be read: it must not pass for one that is not there.
    pub(super) fn find(&self, name: &str) -> Result<Option<&Arc<dyn Source>>, ModelFileError> {
        match (self.files.get(name), self.unusable.get(name)) {
            (None, Some(Unusable { what, advice })) => Err(other(name, what, advice)),
            (found, _) => Ok(found),
        }
    }

    /// The names of all files, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Picks the weight file.
    pub(super) fn primary(&self) -> Result<Primary, ModelFileError> {
        self.picked.clone().map_or_else(|| pick(self.names(), &self.label), Ok)
    }
}

/// Whether `name` can only mean a file in the same folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}
