//! The folder that the Hugging Face cache keeps for one model: `models--ORG--NAME` with `refs`, `snapshots` and `blobs`.
//!
//! Each snapshot is a folder of links into `blobs`; `refs/main` names the one that is current. Native only.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::error::{ModelFileError, quoted};
use super::folder::{MAX_FOLDER, io_error, regular};
use super::pick::{ADAPTER_CONFIG, is_hidden, is_model_file, is_pickled};
use super::reader::len_u64;
use super::sniff::other;
use super::source::is_plain_name;

/// Bytes of `refs/main`: a hash of 40 digits, or the name of a revision.
const MAX_REF_BYTES: u64 = 256;
/// Snapshots that a message names.
const LISTED: usize = 8;

/// The snapshot that the cache's folder for a model stands for, and what messages call the model; `None` for any other folder.
///
/// # Errors
/// A reference to a snapshot that is not there; no snapshot, or several and none that is current.
pub(super) fn snapshot(path: &Path) -> Result<Option<(PathBuf, String)>, ModelFileError> {
    // Where a link leads does not matter, but `.` must have its name.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name =
        |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(repo) = path.parent().filter(|parent| name(parent) == "snapshots").and_then(Path::parent) {
        return Ok(model_name(&name(repo)).map(|model| (path.clone(), model)));
    }
    let root = match path.parent() {
        Some(parent) if name(&path) == "snapshots" && parent.join("blobs").is_dir() => parent.to_owned(),
        _ => path.clone(),
    };
    let snapshots = root.join("snapshots");
    if !is_cache(&root) || holds_model(&root) {
        return Ok(None);
    }
    let folder = name(&root);
    let label = model_name(&folder).unwrap_or_else(|| folder.clone());
    let mut found = Vec::new();
    for entry in fs::read_dir(&snapshots).map_err(io_error(&folder, "its snapshots"))? {
        let entry = entry.map_err(io_error(&folder, "its snapshots"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_plain_name(&name) && is_folder(&entry.path()) {
            found.push(name);
        }
    }
    found.sort();
    let list = |found: &[String]| {
        let mut names = found.get(..LISTED).unwrap_or(found).join(", ");
        if found.len() > LISTED {
            names.push_str(", ...");
        }
        names
    };
    let chosen = match current(&root, &folder)? {
        Some(revision) if found.contains(&revision) => revision,
        Some(revision) => {
            let what = format!(
                "a folder of the Hugging Face cache whose refs/main names the snapshot {}, which is not there (there are: {})",
                quoted(&revision),
                if found.is_empty() { "none".to_owned() } else { list(&found) }
            );
            return Err(other(&folder, what, "download the model again, or name the folder of a snapshot"));
        }
        None => match found.as_slice() {
            [one] => one.clone(),
            [] => {
                return Err(other(
                    &folder,
                    "a folder of the Hugging Face cache without a snapshot",
                    "download the model again",
                ));
            }
            several => {
                let what = format!(
                    "a folder of the Hugging Face cache with several snapshots ({}), and no refs/main says which is current",
                    list(several)
                );
                return Err(other(&folder, what, "name the folder of one of them, in snapshots/"));
            }
        },
    };
    Ok(Some((snapshots.join(chosen), label)))
}

/// Whether a folder looks as the hub's: one that is called `snapshots` other programs make as well.
pub(super) fn is_cache(root: &Path) -> bool {
    let name = root.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_named =
        model_name(&name).is_some() || ["refs", "blobs"].iter().any(|name| is_folder(&root.join(name)));
    is_named && is_folder(&root.join("snapshots"))
}

/// Whether a model or an adapter lies in the folder itself.
fn holds_model(root: &Path) -> bool {
    let entries = fs::read_dir(root).into_iter().flatten().flatten().take(MAX_FOLDER);
    let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.any(|name| {
        !is_hidden(&name) && (is_model_file(&name) || is_pickled(&name) || name == ADAPTER_CONFIG)
    })
}

/// What `refs/main` says.
fn current(root: &Path, folder: &str) -> Result<Option<String>, ModelFileError> {
    let path = root.join("refs").join("main");
    if fs::symlink_metadata(&path).is_err() {
        return Ok(None);
    }
    let refuse = |what: &str| {
        let what = format!("a folder of the Hugging Face cache whose refs/main is {what}");
        other(folder, what, "download the model again")
    };
    regular(&path).map_err(|unusable| refuse(&unusable.what))?;
    // The length that a file says it has does not bound what it gives.
    let (mut text, error) = (Vec::new(), io_error(folder, "refs/main"));
    let file = fs::File::open(&path).map_err(&error)?;
    file.take(MAX_REF_BYTES.saturating_add(1)).read_to_end(&mut text).map_err(&error)?;
    if len_u64(text.len()) > MAX_REF_BYTES {
        return Err(refuse("no reference"));
    }
    let revision = String::from_utf8_lossy(&text).trim().to_owned();
    if is_plain_name(&revision) {
        return Ok(Some(revision));
    }
    let what = format!(
        "a folder of the Hugging Face cache whose refs/main names {}, which is no snapshot",
        quoted(&revision)
    );
    Err(other(folder, what, "download the model again"))
}

/// Whether a folder lies there; the hub makes no links to folders, and one may lead anywhere.
fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// `ORG/NAME` of `models--ORG--NAME`.
fn model_name(folder: &str) -> Option<String> {
    folder.strip_prefix("models--").map(|name| name.replace("--", "/"))
}
