//! A model's folder on disk, turned into a [`FileSet`].
//!
//! Apart from the sources themselves this is the only code of the room that knows paths, so the
//! rule about links is written once. Native only: a browser names its files itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use super::error::{ModelFileError, quoted};
use super::source::{
    FileSet, FileSource, INDEX, PICKLED_ADAPTER, Source, is_companion, is_model_file, is_pickled,
};

/// Opens the folder or file a user named; see [`FileSet::from_path`].
pub(super) fn open(path: &Path) -> Result<FileSet, ModelFileError> {
    let label = label(path);
    // A link the user names keeps its own name: the target may be a blob called by its hash.
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_folder = std::fs::metadata(path).map_err(io_error(&label, "the path"))?.is_dir();
    let mut files = BTreeMap::new();
    if is_folder {
        add_folder(path, |name| is_model_file(name) || is_pickled(name), &mut files)?;
        return Ok(FileSet::new(label, files));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if name.ends_with(".safetensors") {
        add_folder(folder, is_companion, &mut files)?;
    } else if name == INDEX {
        add_folder(
            folder,
            |name| is_model_file(name) && !name.ends_with(".gguf") && name != "model.safetensors",
            &mut files,
        )?;
    }
    let source = FileSource::open(path).map_err(io_error(&name, "the file"))?;
    files.insert(name.clone(), Arc::new(source));
    Ok(FileSet::new(name, files))
}

/// Opens the folder of an adapter; see [`FileSet::adapter_from_path`].
pub(super) fn open_adapter(path: &Path) -> Result<FileSet, ModelFileError> {
    let mut files = BTreeMap::new();
    add_folder(path, |name| [ADAPTER_CONFIG, ADAPTER_WEIGHTS, PICKLED_ADAPTER].contains(&name), &mut files)?;
    Ok(FileSet::new(label(path), files))
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

/// Adds the files of `folder` whose plain name is `wanted`.
fn add_folder(
    folder: &Path,
    wanted: impl Fn(&str) -> bool,
    files: &mut BTreeMap<String, Arc<dyn Source>>,
) -> Result<(), ModelFileError> {
    let label = folder.display().to_string();
    for entry in std::fs::read_dir(folder).map_err(io_error(&label, "the folder"))? {
        let entry = entry.map_err(io_error(&label, "the folder"))?;
        let Some(name) = entry.file_name().to_str().filter(|name| wanted(name)).map(str::to_owned) else {
            continue;
        };
        let path = entry.path();
        let kind = entry.file_type().map_err(io_error(&name, "the file's type"))?;
        if kind.is_symlink() {
            check_link(folder, &path, &name)?;
        }
        let source = FileSource::open(&path).map_err(io_error(&name, "the file"))?;
        files.insert(name, Arc::new(source));
    }
    Ok(())
}

/// A link may lead to a file of the same folder, or, as in the Hugging Face cache
/// (`snapshots/REVISION/x -> ../../blobs/HASH`), to `../../blobs`; anything else is refused.
fn check_link(folder: &Path, link: &Path, name: &str) -> Result<(), ModelFileError> {
    let real = |path: &Path| path.canonicalize().map_err(io_error(name, "the symbolic link"));
    let (folder, target) = (real(folder)?, real(link)?);
    let blobs = folder.parent().and_then(Path::parent).map(|cache| cache.join("blobs"));
    let parent = target.parent().map(PathBuf::from);
    if parent.as_ref() == Some(&folder) || (parent.is_some() && parent == blobs) {
        return Ok(());
    }
    Err(ModelFileError::Invalid {
        file: name.to_owned(),
        field: "the symbolic link's target".to_owned(),
        value: quoted(&target.to_string_lossy()),
        expected: "a file of the same folder".to_owned(),
    })
}

/// Wraps the system's error with the file and what was being done.
fn io_error(file: &str, field: &str) -> impl Fn(io::Error) -> ModelFileError {
    move |source| ModelFileError::Io { file: file.to_owned(), field: field.to_owned(), source }
}
