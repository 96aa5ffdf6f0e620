//! A model's folder or file on disk, turned into a [`FileSet`].
//!
//! Apart from the sources themselves this is the only code of the room that knows paths, so the rules about links and about
//! what lies beside a model are written once. Names are listed first, the model is picked among them, and only its files
//! are opened. Native only: a browser names its files itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ModelFileError, quoted};
use super::hub;
use super::pick::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX, MODEL, PICKLED_ADAPTER, PartName, Primary, adapter, is_companion,
    is_hidden, is_index, is_model_file, is_pickled, pick,
};
use super::safetensors;
use super::sniff::{HEAD_BYTES, Kind, other, sniff};
use super::source::{FileSet, FileSource, Source, Unusable};

/// The most entries of a folder that are looked at; folders of models have a few dozen.
pub(super) const MAX_FOLDER: usize = 100_000;

/// Opens the folder or file a user named; see [`FileSet::from_path`].
pub(super) fn open(path: &Path) -> Result<FileSet, ModelFileError> {
    let label = label(path);
    let metadata = fs::metadata(path).map_err(|error| match link_target(path) {
        Some(target) if error.kind() == io::ErrorKind::NotFound => dangling(&label, &target),
        _ => io_error(&label, "the path")(error),
    })?;
    if !metadata.is_dir() {
        return open_file(path);
    }
    let (folder, label) = hub::snapshot(path)?.unwrap_or_else(|| (path.to_owned(), label));
    let listing =
        Listing::of(&folder, |name| is_model_file(name) || is_pickled(name) || name == ADAPTER_CONFIG)?;
    let primary = match listing.pick(&label) {
        Err(ModelFileError::Missing { .. }) => return Err(no_model(&folder, &label)),
        Err(ModelFileError::Pickled { file }) => return Err(pickled(&folder, file)),
        other => other?,
    };
    listing.open(primary, label)
}

/// Opens the file a user named, and what it needs of those beside it.
fn open_file(path: &Path) -> Result<FileSet, ModelFileError> {
    // A link the user names keeps its own name: the target may be a blob called by its hash.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if [ADAPTER_CONFIG, ADAPTER_WEIGHTS, PICKLED_ADAPTER].contains(&name.as_str()) {
        return Err(adapter(&name));
    }
    if is_companion(&name) {
        return Err(other(&name, "a part of a model's folder", "name the folder"));
    }
    let folder = parent(path);
    let source = open_named(path, &name)?;
    let is_shard = PartName::of(&name, ".safetensors").is_some();
    if is_index(&name) || is_shard || PartName::of(&name, ".gguf").is_some() {
        // What is picked is the whole that the file belongs to.
        let of_index =
            |other: &str| is_companion(other) || is_index(other) || other.ends_with(".safetensors");
        let listing = if name.ends_with(".gguf") {
            Listing::of(folder, |other| other.ends_with(".gguf"))?
        } else {
            Listing::of(folder, of_index)?
        };
        let primary = match PartName::of(&name, ".gguf") {
            Some(part) => Primary::Parts(part.all(".gguf", &name)?),
            None if is_index(&name) => Primary::Index(name.clone()),
            // A shard stands for the checkpoint that it is a part of, never for another model of the folder.
            None => listing.index_of(&name)?,
        };
        return listing.open(primary, name);
    }
    let head_len = usize::try_from(source.len()).unwrap_or(usize::MAX).min(HEAD_BYTES);
    let head = pollster::block_on(source.read_at(0, head_len)).map_err(io_error(&name, "the file"))?;
    let is_safetensors = match sniff(&head, source.len()) {
        Kind::Safetensors => true,
        Kind::Unknown => name.ends_with(".safetensors"),
        _ => false,
    };
    let listing = if is_safetensors { Listing::of(folder, is_companion)? } else { Listing::default() };
    let (mut files, unusable) = listing.open_all(|_| true);
    files.insert(name.clone(), Arc::new(source));
    Ok(FileSet::new(&name, files).beside(unusable, Some(Primary::Weights(name))))
}

/// Opens the file `name` that a user named, which may be a link as well.
fn open_named(path: &Path, name: &str) -> Result<FileSource, ModelFileError> {
    regular(path).map_err(|Unusable { what, advice }| other(name, what, advice))?;
    FileSource::open(path).map_err(io_error(name, "the file"))
}

/// Opens an adapter; see [`FileSet::adapter_from_path`].
pub(super) fn open_adapter(path: &Path) -> Result<FileSet, ModelFileError> {
    let label = label(path);
    let metadata = fs::metadata(path).map_err(io_error(&label, "the path"))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let ours = |name: &str| [ADAPTER_CONFIG, ADAPTER_WEIGHTS, PICKLED_ADAPTER].contains(&name);
    if metadata.is_dir() {
        let (folder, label) = hub::snapshot(path)?.unwrap_or_else(|| (path.to_owned(), label));
        let listing = Listing::of(&folder, |name| ours(name) || name.ends_with(".gguf"))?;
        let has_ours = listing.names().any(ours);
        let (files, unusable) = listing.open_all(|name| ours(name) == has_ours);
        if files.is_empty() && unusable.is_empty() && folder.join("config.json").exists() {
            return Err(other(
                &label,
                "a model's folder without an adapter",
                "give a whole model as --model",
            ));
        }
        return Ok(FileSet::new(label, files).beside(unusable, None));
    }
    let source = open_named(path, &name)?;
    if ours(&name) || name.ends_with(".safetensors") || name.ends_with(".bin") {
        // The other half lies in the file's folder; a file of another name is the one that was meant.
        let (mut files, unusable) = Listing::of(parent(path), ours)?.open_all(|_| true);
        if !ours(&name) {
            let stands_for = if name.ends_with(".bin") { PICKLED_ADAPTER } else { ADAPTER_WEIGHTS };
            files.retain(|name, _| name == ADAPTER_CONFIG);
            files.insert(stands_for.to_owned(), Arc::new(source));
        }
        return Ok(FileSet::new(label, files).beside(unusable, None));
    }
    let source: Arc<dyn Source> = Arc::new(source);
    Ok(FileSet::new(label, BTreeMap::from([(name, source)])))
}

/// The files of a folder that matter, and the entries in the places of files that are none.
#[derive(Default)]
struct Listing {
    files: BTreeMap<String, PathBuf>,
    unusable: BTreeMap<String, Unusable>,
}

/// Opened files, and those that could not be.
type Opened = (BTreeMap<String, Arc<dyn Source>>, BTreeMap<String, Unusable>);

impl Listing {
    /// Looks at the entries of `folder` whose plain name is `wanted`, hidden ones left out.
    fn of(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self, ModelFileError> {
        let label = folder.display().to_string();
        let mut listing = Self::default();
        for entry in fs::read_dir(folder).map_err(io_error(&label, "the folder"))?.take(MAX_FOLDER) {
            let entry = entry.map_err(io_error(&label, "the folder"))?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !is_hidden(name) && wanted(name)) else { continue };
            match regular(&entry.path()) {
                Ok(()) => drop(listing.files.insert(name.to_owned(), entry.path())),
                Err(unusable) => drop(listing.unusable.insert(name.to_owned(), unusable)),
            }
        }
        Ok(listing)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Picks the model among the files; where there is none, what stands in its place is what is wrong.
    fn pick(&self, label: &str) -> Result<Primary, ModelFileError> {
        // What comes before all others must not be passed over for one of these, which may be of another model.
        if !self.names().any(|name| name.ends_with(".gguf")) {
            let mut first = [MODEL, INDEX].into_iter().take_while(|name| !self.files.contains_key(*name));
            first.try_for_each(|name| self.usable(name))?;
        }
        pick(self.names(), label).map_err(|error| {
            let is_weights = |name: &&String| !is_companion(name) && *name != ADAPTER_CONFIG;
            match self.unusable.iter().find(|(name, _)| is_weights(name)) {
                Some((name, Unusable { what, advice }))
                    if !matches!(error, ModelFileError::Invalid { .. }) =>
                {
                    other(name, what, advice)
                }
                _ => error,
            }
        })
    }

    /// That nothing which cannot be read lies in the place of a file.
    fn usable(&self, name: &str) -> Result<(), ModelFileError> {
        match self.unusable.get(name) {
            Some(Unusable { what, advice }) => Err(other(name, what, advice)),
            None => Ok(()),
        }
    }

    /// The index that names the shard `shard`: the one of the usual name, or one of another.
    fn index_of(&self, shard: &str) -> Result<Primary, ModelFileError> {
        self.usable(INDEX)?;
        let mut indexes: Vec<&str> = self.names().filter(|name| is_index(name)).collect();
        indexes.sort_by_key(|name| *name != INDEX);
        for (name, path) in indexes.iter().filter_map(|name| self.files.get_key_value(*name)) {
            let source = FileSource::open(path).map_err(io_error(name, "the file"))?;
            if pollster::block_on(safetensors::is_shard_of(&source, name, shard))? {
                return Ok(Primary::Index(name.clone()));
            }
        }
        if indexes.is_empty() {
            return pick(std::iter::once(shard), shard);
        }
        let what = format!("a shard that no index here names; there is {}", quoted(&indexes.join(", ")));
        Err(other(
            shard,
            what,
            "download the index of its checkpoint into the folder, or name the other model",
        ))
    }

    /// Opens what `primary` needs.
    fn open(self, primary: Primary, label: String) -> Result<FileSet, ModelFileError> {
        let (files, unusable) = self.open_all(|name| match &primary {
            Primary::Weights(weights) if name == weights => true,
            Primary::Weights(_) => is_companion(name),
            Primary::Index(index) => name == index || is_companion(name) || name.ends_with(".safetensors"),
            Primary::Parts(parts) => parts.iter().any(|part| part == name),
        });
        Ok(FileSet::new(label, files).beside(unusable, Some(primary)))
    }

    fn open_all(self, wanted: impl Fn(&str) -> bool) -> Opened {
        let (mut files, mut unusable): Opened = (BTreeMap::new(), self.unusable);
        for (name, path) in self.files.into_iter().filter(|(name, _)| wanted(name)) {
            match FileSource::open(&path) {
                Ok(source) => drop(files.insert(name, Arc::new(source))),
                Err(error) => {
                    let what = format!("a file that cannot be opened ({error})");
                    drop(unusable.insert(name, Unusable { what, advice: "make it readable".to_owned() }));
                }
            }
        }
        (files, unusable)
    }
}

/// Whether an entry is a regular file or a link to one, wherever it is: stores keep a model's files elsewhere and fill its folder
/// with links. What could block, never end or belong to the system is not read.
pub(super) fn regular(path: &Path) -> Result<(), Unusable> {
    let target = link_target(path);
    let unusable = |what: String, advice: &str| Unusable { what, advice: advice.to_owned() };
    let linked = |what: &str| match &target {
        Some(target) => format!("a link to {}, which is {what}", quoted(&target.to_string_lossy())),
        None => what.to_owned(),
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Err(match (&target, error.kind()) {
                (Some(_), io::ErrorKind::NotFound) => {
                    unusable(linked("not there"), "download the file again, or mend the link")
                }
                _ => unusable(format!("{} ({error})", linked("not readable")), "make it readable"),
            });
        }
    };
    if !metadata.is_file() {
        let what =
            if metadata.is_dir() { "a folder" } else { "no regular file but a device, a pipe or a socket" };
        return Err(unusable(linked(what), "put the file of that name in its place"));
    }
    // Files of the kernel look regular, but have no length and may hold a process's secrets.
    let system = ["/proc", "/sys", "/dev"];
    match target.as_ref().and_then(|_| path.canonicalize().ok()) {
        // Memory that is called a device, and holds what anyone puts there.
        Some(real) if real.starts_with("/dev/shm") => Ok(()),
        Some(real) if system.iter().any(|folder| real.starts_with(folder)) => {
            Err(unusable(linked("a file of the system"), "put the file of that name in its place"))
        }
        _ => Ok(()),
    }
}

/// Where a link leads, as it is written.
fn link_target(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

fn dangling(file: &str, target: &Path) -> ModelFileError {
    let what = format!("a link to {}, which is not there", quoted(&target.to_string_lossy()));
    other(file, what, "download the file again, or mend the link")
}

/// What a file that is called as a pickle is: a pickle, or what stands in its place.
fn pickled(folder: &Path, file: String) -> ModelFileError {
    let head = FileSource::open(&folder.join(&file)).and_then(|source| {
        let len = usize::try_from(source.len()).unwrap_or(usize::MAX).min(HEAD_BYTES);
        Ok((pollster::block_on(source.read_at(0, len))?, source.len()))
    });
    match head.map(|(head, len)| sniff(&head, len)) {
        Ok(Kind::Other(what, advice)) => other(&file, what, advice),
        _ => ModelFileError::Pickled { file },
    }
}

/// Why a folder without a model is none, with what it may be instead.
fn no_model(folder: &Path, label: &str) -> ModelFileError {
    let names = |wanted: &dyn Fn(&Path, &str) -> bool| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FOLDER);
        let entries = entries.filter_map(|entry| {
            let name = entry.file_name().to_str().filter(|name| !is_hidden(name))?.to_owned();
            wanted(&entry.path(), &name).then_some(name)
        });
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names.truncate(8);
        names
    };
    let is_model = |path: &Path| {
        path.join("config.json").is_file()
            || hub::is_cache(path)
            || fs::read_dir(path).into_iter().flatten().flatten().take(MAX_FOLDER).any(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| {
                    !is_hidden(name) && (name.ends_with(".gguf") || name.ends_with(".safetensors"))
                })
            })
    };
    let inside = names(&|path, _| path.is_dir() && is_model(path));
    if !inside.is_empty() {
        let what =
            format!("a folder without a model file, but with models inside: {}", quoted(&inside.join(", ")));
        return other(label, what, "name one of them");
    }
    let foreign =
        [".h5", ".msgpack", ".onnx", ".pth", ".pt", ".ckpt", ".tflite", ".mlpackage", ".npz", ".bin"];
    let weights = names(&|_, name| foreign.iter().any(|end| name.ends_with(end)));
    if !weights.is_empty() {
        let what = format!("a folder whose weights are in another format: {}", quoted(&weights.join(", ")));
        return other(label, what, "get the model as safetensors or GGUF");
    }
    ModelFileError::Missing {
        file: label.to_owned(),
        field: "a model file (.gguf, .safetensors or model.safetensors.index.json)".to_owned(),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What a folder or file is called in messages.
fn label(path: &Path) -> String {
    path.canonicalize()
        .ok()
        .as_deref()
        .and_then(Path::file_name)
        .or(path.file_name())
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Wraps the system's error with the file and what was being done.
pub(super) fn io_error(file: &str, field: &str) -> impl Fn(io::Error) -> ModelFileError {
    move |source| ModelFileError::Io { file: file.to_owned(), field: field.to_owned(), source }
}
