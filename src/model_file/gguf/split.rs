//! A model in several GGUF files, as `llama-gguf-split` cuts it: `NAME-00001-of-00003.gguf` and so on.
//!
//! Each part is a GGUF file with a table of its own tensors. All metadata is in the first; the others have only the three keys
//! by which a part says where it belongs, which must agree with each other and with the names.

use std::collections::BTreeSet;

use super::{Gguf, Metadata, parse};
use crate::model_file::error::{ModelFileError, quoted};
use crate::model_file::gguf::key_field;
use crate::model_file::reader::{MAX_ENTRIES, at_most, len_u64};
use crate::model_file::sniff::{self, Weights, other};
use crate::model_file::source::FileSet;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
const TOGETHER: &str = "put all parts into one folder, under the names they were published with, or merge them \
    (llama-gguf-split --merge FIRST WHOLE)";

/// Parses the parts called `names`, in order.
///
/// # Errors
/// A part that is missing, out of place, of another model or broken.
pub(in crate::model_file) async fn parse_parts(
    files: &FileSet,
    names: &[String],
) -> Result<Gguf, ModelFileError> {
    let there = || names.iter().find(|name| files.get(name).is_some()).map_or(files.label(), String::as_str);
    let count = len_u64(names.len());
    let mut whole: Option<Gguf> = None;
    let mut known = BTreeSet::new();
    let mut total = None;
    for (number, name) in (0_u64..).zip(names) {
        let Some(source) = files.find(name)? else {
            let what = format!("a part of a model in {count} parts, of which {} is not there", quoted(name));
            return Err(other(there(), what, TOGETHER));
        };
        if sniff::weights(source.as_ref(), name).await? != Weights::Gguf {
            return Err(other(name, "no GGUF file, as its name says", "download the part again"));
        }
        let part = parse(source.as_ref(), name).await?;
        let says = |key: &str| part.metadata.required(key, part.metadata.u64(key)?);
        for (key, expected, what) in
            [(COUNT, count, "the number of parts"), (NUMBER, number, "the part, from 0,")]
        {
            let found = says(key)?;
            if found != expected {
                return Err(ModelFileError::Invalid {
                    file: name.clone(),
                    field: key_field(key),
                    value: found.to_string(),
                    expected: format!("{expected}, {what} by the file's name"),
                });
            }
        }
        let tensors = says(TENSORS)?;
        if *total.get_or_insert(tensors) != tensors {
            let expected = format!("{}, as in the first part", total.unwrap_or_default());
            return Err(ModelFileError::Invalid {
                file: name.clone(),
                field: key_field(TENSORS),
                value: tensors.to_string(),
                expected,
            });
        }
        for tensor in &part.tensors {
            if !known.insert(tensor.name.clone()) {
                return Err(ModelFileError::Duplicate { file: name.clone(), field: tensor.field() });
            }
        }
        at_most(name, "the number of tensors of all parts", len_u64(known.len()), MAX_ENTRIES)?;
        match &mut whole {
            Some(whole) => whole.tensors.extend(part.tensors),
            None => whole = Some(part),
        }
    }
    let whole = whole.ok_or_else(|| other(files.label(), "a model without parts", TOGETHER))?;
    let found = len_u64(whole.tensors.len());
    match total {
        Some(total) if total != found => Err(ModelFileError::Invalid {
            file: there().to_owned(),
            field: key_field(TENSORS),
            value: total.to_string(),
            expected: format!("{found}, the tensors of all parts together"),
        }),
        _ => Ok(whole),
    }
}

/// Refuses a file that says that it is one part of several, and whose name does not: the others cannot be found.
pub(in crate::model_file) fn check_alone(metadata: &Metadata) -> Result<(), ModelFileError> {
    let (Some(count), number) = (metadata.u64(COUNT)?, metadata.u64(NUMBER)?) else { return Ok(()) };
    if count <= 1 {
        return Ok(());
    }
    let number = number.unwrap_or_default().saturating_add(1);
    let what = format!("part {number} of a model in {count} parts ({COUNT}), under another name");
    let advice = format!("call it NAME-{number:05}-of-{count:05}.gguf, beside the others, or {TOGETHER}");
    Err(other(&metadata.file, what, advice))
}
