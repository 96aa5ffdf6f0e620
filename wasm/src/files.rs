//! A model's files, as JavaScript hands them over.
//!
//! A file is bytes, or an object `{ size, read(offset, length) }` whose `read` gives a promise of exactly those bytes: then no more
//! than a piece of a file is ever in this module's memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use killick::model_file::{BytesSource, FileSet, ReadFuture, Source};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::error::Fault;

/// The files of one model: plain name to content.
pub(crate) fn file_set(label: Option<String>, files: &Object) -> Result<FileSet, Fault> {
    let mut named = BTreeMap::new();
    let mut weights = None;
    for entry in Object::entries(files) {
        let entry: Array = entry.unchecked_into();
        let name =
            entry.get(0).as_string().ok_or_else(|| Fault::option("a file's name is not valid Unicode"))?;
        let source = source(&name, entry.get(1))?;
        if name.ends_with(".gguf") || name.ends_with(".safetensors") {
            weights.get_or_insert(name.clone());
        }
        named.insert(name, source);
    }
    let label = label.or(weights).unwrap_or_else(|| "model".to_owned());
    Ok(FileSet::new(label, named))
}

fn source(name: &str, value: JsValue) -> Result<Arc<dyn Source>, Fault> {
    let value = match value.dyn_into::<Uint8Array>() {
        Ok(bytes) => return Ok(Arc::new(BytesSource::new(bytes.to_vec()))),
        Err(value) => value,
    };
    let field = |field: &str| Reflect::get(&value, &field.into()).ok();
    let size = field("size").and_then(|size| size.as_f64()).filter(|size| *size >= 0.0);
    let read = field("read").and_then(|read| read.dyn_into::<Function>().ok());
    match (size, read) {
        // Both are whole numbers far below 2^53.
        (Some(size), Some(read)) => Ok(Arc::new(JsSource { of: value, size: size as u64, read })),
        _ => Err(Fault::option(format!("file {name:?} is neither a Uint8Array nor {{ size, read }}"))),
    }
}

/// A file that JavaScript reads.
struct JsSource {
    of: JsValue,
    size: u64,
    read: Function,
}

impl Source for JsSource {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        Box::pin(async move {
            let read = self.read.call2(&self.of, &(offset as f64).into(), &(len as f64).into());
            let bytes = JsFuture::from(Promise::resolve(&read.map_err(other)?)).await.map_err(other)?;
            let bytes =
                bytes.dyn_into::<Uint8Array>().map_err(|_| io::Error::other("read() gave no Uint8Array"))?;
            match usize::try_from(bytes.length()) {
                Ok(given) if given == len => Ok(bytes.to_vec()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        })
    }
}

/// What a `read` threw.
fn other(thrown: JsValue) -> io::Error {
    let message = thrown.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    io::Error::other(message.unwrap_or_else(|| "read() failed".to_owned()))
}
