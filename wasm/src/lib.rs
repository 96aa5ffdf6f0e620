//! Killick in the browser: the engine behind a JavaScript face.
//!
//! The same loader, kernels and forward pass as the native program; this crate only turns JavaScript values into the library's
//! and back. Options and results travel as JSON text, so that a page, a worker and a test read the same document that
//! `killick score --json` prints.
#![cfg(target_arch = "wasm32")]

mod score;
mod writer;

use std::collections::BTreeMap;
use std::error::Error;

use js_sys::{Array, Object, Uint8Array};
use killick::kernels::WeightFormat;
use killick::model_file::FileSet;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &str);
}

/// Runs once, when the module is instantiated: without a hook a panic's message would be lost.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&info.to_string())));
}

/// How weights are stored on the device.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dtype {
    #[default]
    File,
    F32,
    F16,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl From<Dtype> for WeightFormat {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::File => Self::File,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Q8_0 => Self::Q8_0,
            Dtype::Q4_0 => Self::Q4_0,
        }
    }
}

/// The negative log-likelihood of a text under a model.
///
/// `files` maps the names of a model's files to their bytes: `{ "config.json": Uint8Array, ... }`. `options` is the JSON
/// of [`score::Options`]; the promise's value is the JSON that `killick score --json` prints.
///
/// # Errors
/// Files or options of the wrong form, and all that loading and scoring can meet, as a JavaScript `Error` whose message
/// holds the whole chain of causes.
#[wasm_bindgen]
pub async fn score(files: Object, options: String) -> Result<String, JsError> {
    let files = file_set(&files)?;
    score::score(files, &options).await.map_err(|error| js_error(error.as_ref()))
}

/// The files that JavaScript hands over, copied once into this module's memory.
fn file_set(files: &Object) -> Result<FileSet, JsError> {
    let mut named = BTreeMap::new();
    for entry in Object::entries(files) {
        let entry: Array = entry.unchecked_into();
        let name =
            entry.get(0).as_string().ok_or_else(|| JsError::new("a file's name is not valid Unicode"))?;
        let bytes = entry.get(1).dyn_into::<Uint8Array>();
        let bytes = bytes.map_err(|_| JsError::new(&format!("file {name:?} is not a Uint8Array")))?;
        named.insert(name, bytes.to_vec());
    }
    Ok(FileSet::from_bytes(named))
}

/// One line: the error and what caused it.
fn js_error(error: &dyn Error) -> JsError {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    JsError::new(&message)
}
