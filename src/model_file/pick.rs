//! Which of several files is the model: decided by names alone, the same for a folder on disk and for files in memory.
//!
//! What lies beside a model and is no part of it does not matter: hidden files, adapters, vision projectors, notes. Only where
//! two files could both be meant the user is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{ModelFileError, quoted};
use super::reader::at_most;
use super::sniff::other;

/// The weights of a checkpoint in one file.
pub(super) const MODEL: &str = "model.safetensors";
/// The index of a sharded checkpoint.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// How the name of any such index ends.
const INDEX_END: &str = ".safetensors.index.json";
/// The two files of an adapter.
pub(super) const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(super) const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// The weights of an adapter as old versions of PEFT wrote them.
pub(super) const PICKLED_ADAPTER: &str = "adapter_model.bin";
/// Parts of a split GGUF; published ones have up to a few dozen.
const MAX_PARTS: u64 = 4096;

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

/// The file that holds the weights, or leads to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Primary {
    /// One GGUF or safetensors file; its first bytes say which.
    Weights(String),
    /// The index of a sharded safetensors checkpoint.
    Index(String),
    /// All parts of a split GGUF file, in order, whether they are there or not.
    Parts(Vec<String>),
}

/// A name such as `model-00002-of-00003.gguf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartName<'a> {
    /// What stands before the numbers.
    base: &'a str,
    /// Which part it is, from 1.
    number: u64,
    /// How many there are.
    count: u64,
}

impl<'a> PartName<'a> {
    /// Reads the name of a part, of two or more, of a file that ends in `end`.
    pub(super) fn of(name: &'a str, end: &str) -> Option<Self> {
        // Numbers of shards are written with more digits by some; the index says how each is called, but no index has a GGUF's.
        let most = if end == ".gguf" { 5 } else { 9 };
        let digits = |text: &str| {
            let is_number = (5..=most).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
            is_number.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (rest, count) = name.strip_suffix(end)?.rsplit_once("-of-")?;
        let (base, number) = rest.rsplit_once('-')?;
        let (number, count) = (digits(number)?, digits(count)?);
        (count >= 2 && (1..=count).contains(&number)).then_some(Self { base, number, count })
    }

    /// The names of all parts.
    ///
    /// # Errors
    /// More of them than are opened.
    pub(super) fn all(self, end: &str, file: &str) -> Result<Vec<String>, ModelFileError> {
        at_most(file, "the number of parts in its name", self.count, MAX_PARTS)?;
        Ok((1..=self.count)
            .map(|number| format!("{}-{number:05}-of-{:05}{end}", self.base, self.count))
            .collect())
    }
}

/// Picks the weight file among plain names; `label` is what messages call the whole.
///
/// One `model.safetensors` comes before an index and an index before other safetensors files, as in `transformers`.
pub(super) fn pick<'a>(names: impl Iterator<Item = &'a str>, label: &str) -> Result<Primary, ModelFileError> {
    let names: BTreeSet<&str> = names.filter(|name| !is_hidden(name)).collect();
    let ending = |end: &str| names.iter().copied().filter(|name| name.ends_with(end)).collect::<Vec<_>>();
    let ggufs = without(ending(".gguf"), is_side_gguf);
    let (parts, ggufs): (Vec<_>, Vec<_>) =
        ggufs.into_iter().partition(|name| PartName::of(name, ".gguf").is_some());
    // One name for each split model, whichever of its parts are there.
    let splits: BTreeMap<(&str, u64), &str> = parts
        .into_iter()
        .filter_map(|name| PartName::of(name, ".gguf").map(|part| ((part.base, part.count), name)))
        .collect();
    let is_shard = |name: &str| PartName::of(name, ".safetensors").is_some();
    let safetensors = without(ending(".safetensors"), |name| name == ADAPTER_WEIGHTS);
    let (shards, safetensors): (Vec<_>, Vec<_>) =
        without(safetensors, |name| name.starts_with("consolidated"))
            .into_iter()
            .partition(|name| is_shard(name));
    let indexes = ending(INDEX_END);
    let index = if names.contains(INDEX) {
        Some(INDEX)
    } else {
        indexes.first().copied().filter(|_| indexes.len() == 1)
    };
    let (pickled, others): (Vec<_>, Vec<_>) =
        names.iter().copied().filter(|name| !is_model_file(name)).partition(|name| is_pickled(name));

    let has_gguf = !(ggufs.is_empty() && splits.is_empty());
    if !has_gguf && names.contains(MODEL) {
        return Ok(Primary::Weights(MODEL.to_owned()));
    }
    match (index, has_gguf, safetensors.as_slice(), shards.first()) {
        (Some(index), false, ..) => return Ok(Primary::Index(index.to_owned())),
        (None, false, [], Some(shard)) => {
            let count = PartName::of(shard, ".safetensors").map_or(0, |part| part.count);
            let what = format!("one of {count} shards, and their index {INDEX} is missing");
            return Err(other(
                shard,
                what,
                "download the index into the folder of the shards, and name the folder",
            ));
        }
        _ => {}
    }
    let split_names = splits.values().copied();
    let mut candidates: Vec<&str> =
        ggufs.iter().copied().chain(split_names).chain(safetensors.iter().copied()).collect();
    candidates.extend(index.filter(|_| has_gguf));
    if !has_gguf && safetensors.is_empty() {
        candidates.extend(others.iter().filter(|name| **name != ADAPTER_CONFIG));
    }
    match candidates.as_slice() {
        [one] if *one == ADAPTER_WEIGHTS => Err(adapter(one)),
        [one] => match PartName::of(one, ".gguf") {
            Some(part) => part.all(".gguf", one).map(Primary::Parts),
            None => Ok(Primary::Weights((*one).to_owned())),
        },
        [] if names.contains(ADAPTER_CONFIG) => Err(adapter(ADAPTER_CONFIG)),
        [] => Err(match pickled.first() {
            Some(file) => ModelFileError::Pickled { file: (*file).to_owned() },
            None => ModelFileError::Missing {
                file: label.to_owned(),
                field: "a model file (.gguf, .safetensors or model.safetensors.index.json)".to_owned(),
            },
        }),
        several => Err(ModelFileError::Invalid {
            file: label.to_owned(),
            field: "the list of model files".to_owned(),
            value: quoted(&several.join(", ")),
            expected: "one model; name the file".to_owned(),
        }),
    }
}

/// The error for a part of an adapter that was given as a model.
pub(super) fn adapter(file: &str) -> ModelFileError {
    other(
        file,
        "a part of a LoRA adapter, not a model",
        "give it as --adapter, beside the model that it changes as --model",
    )
}

/// `names` without those that are `side`, unless there are no others.
fn without(names: Vec<&str>, side: impl Fn(&str) -> bool) -> Vec<&str> {
    let main: Vec<&str> = names.iter().copied().filter(|name| !side(name)).collect();
    if main.is_empty() { names } else { main }
}

/// Whether a GGUF of that name lies beside a model and is none: the eyes of one that sees, statistics for quantisation. A model that was
/// quantised with such statistics may have their name in its own.
fn is_side_gguf(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("mmproj") || name.starts_with("imatrix") || name.ends_with(".imatrix.gguf")
}

/// Whether a name is hidden, as the sidecars of macOS (`._model.gguf`) are, too.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Whether the file is a config, a tokenizer or the like.
pub(super) fn is_companion(name: &str) -> bool {
    COMPANIONS.contains(&name)
}

/// Whether the file is the index of a sharded checkpoint.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(INDEX_END)
}

/// Whether a model in this folder may use a file of that name.
pub(super) fn is_model_file(name: &str) -> bool {
    is_companion(name) || is_index(name) || name.ends_with(".gguf") || name.ends_with(".safetensors")
}

/// Whether a file of that name holds weights as PyTorch pickles them.
pub(super) fn is_pickled(name: &str) -> bool {
    name.starts_with("pytorch_model") && (name.ends_with(".bin") || name.ends_with(".bin.index.json"))
        || name == PICKLED_ADAPTER
}
