//! A file or folder that appears whole or not at all.
//!
//! Everything is written beside the output under a name of its own, forced to the disk, and renamed at the end; an error
//! on the way leaves nothing behind. A folder that is replaced must hold nothing but a model, for it goes as a whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{ConvertError, WriteError};

/// What a folder may hold and still be replaced, beside shards of weights ([`is_shard`]). Whole names, for those of an adapter
/// (`adapter_config.json`) end alike.
const OF_A_MODEL: [&str; 11] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "README.md",
];

/// Whether that is a name such as `model-00001-of-00002.safetensors`.
fn is_shard(name: &str) -> bool {
    let numbers = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers
        .and_then(|numbers| numbers.split_once("-of-"))
        .is_some_and(|(n, of)| is_number(n) && is_number(of))
}

/// An output under way.
pub(super) struct Staged {
    output: PathBuf,
    partial: PathBuf,
    is_folder: bool,
    force: bool,
    finished: bool,
}

impl Staged {
    /// Begins an output; one that exists is refused without `force`.
    pub(super) fn new(output: &Path, is_folder: bool, force: bool) -> Result<Self, ConvertError> {
        let mut staged =
            Self { output: output.to_owned(), partial: PathBuf::new(), is_folder, force, finished: true };
        staged.check_free()?;
        let Some(output_name) = output.file_name() else {
            return Err(staged.io("naming it", io::ErrorKind::InvalidFilename.into()));
        };
        let mut name = OsString::from(".");
        name.push(output_name);
        name.push(format!(".partial-{}", std::process::id()));
        staged.partial = output.with_file_name(name);
        if is_folder {
            fs::create_dir(&staged.partial).map_err(|source| staged.io("making the folder", source))?;
        }
        staged.finished = false;
        Ok(staged)
    }

    /// Where the output lies until it is finished.
    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Writes one file of the folder, or with an empty `name` the file itself.
    pub(super) fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<(), ConvertError> {
        let path = if name.is_empty() { self.partial.clone() } else { self.partial.join(name) };
        let write = || -> Result<(), WriteError> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create_new(&path)?);
            content(&mut out)?;
            Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
        };
        write().map_err(|error| match error {
            WriteError::Convert(error) => error,
            WriteError::Io(source) => self.io("writing", source),
            WriteError::Cancelled => ConvertError::Cancelled { path: self.output.clone() },
        })
    }

    /// Gives the output its name.
    pub(super) fn finish(mut self) -> Result<(), ConvertError> {
        self.check_free()?;
        if !(self.is_folder && self.output.is_dir()) {
            fs::rename(&self.partial, &self.output)
                .map_err(|source| self.io("giving it its name", source))?;
            self.finished = true;
            return Ok(());
        }
        // A folder replaces only an empty one, so the old one steps aside under a name that no other process takes.
        let mut replaced = self.partial.clone().into_os_string();
        replaced.push(".replaced");
        let replaced = PathBuf::from(replaced);
        let aside = |what, source| ConvertError::Io { path: replaced.clone(), what, source };
        fs::rename(&self.output, &replaced).map_err(|source| aside("moving the old one here", source))?;
        if let Err(source) = fs::rename(&self.partial, &self.output) {
            fs::rename(&replaced, &self.output)
                .map_err(|source| aside("moving the old one back from here", source))?;
            return Err(self.io("giving it its name", source));
        }
        self.finished = true;
        fs::remove_dir_all(&replaced).map_err(|source| aside("removing the old one", source))
    }

    fn check_free(&self) -> Result<(), ConvertError> {
        let path = self.output.clone();
        let Ok(found) = fs::symlink_metadata(&path) else { return Ok(()) };
        if !self.force {
            return Err(ConvertError::Exists { path });
        }
        if found.is_dir() != self.is_folder {
            let kind =
                if found.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::NotADirectory };
            return Err(self.io("replacing it", kind.into()));
        }
        if !self.is_folder {
            return Ok(());
        }
        for entry in fs::read_dir(&path).map_err(|source| self.io("looking into it", source))? {
            let entry = entry.map_err(|source| self.io("looking into it", source))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder || !(OF_A_MODEL.contains(&name.as_str()) || is_shard(&name)) {
                return Err(ConvertError::NotOnlyAModel { path, found: name });
            }
        }
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> ConvertError {
        ConvertError::Io { path: self.output.clone(), what, source }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.finished {
            // Nobody is left to tell.
            let _ = if self.is_folder {
                fs::remove_dir_all(&self.partial)
            } else {
                fs::remove_file(&self.partial)
            };
        }
    }
}
