//! The model that the program brings: an anchor model trained from scratch (`models/killick-4m`, `tools/train`).
//!
//! Its files lie in this library as constants, so it is there offline and whatever the working directory is. They are read
//! where they lie, by the same reader that every other model passes. A program that never asks for them does not contain them:
//! nothing else refers to the constants, and a linker leaves out what nobody refers to.

use std::sync::Arc;

use super::source::{FileSet, Source, StaticSource};

/// What messages and reports call the embedded model.
pub const EMBEDDED: &str = "killick-4m";

/// Plain name and bytes of each file.
const FILES: [(&str, &[u8]); 4] = [
    ("config.json", include_bytes!("../../models/killick-4m/config.json")),
    ("model.safetensors", include_bytes!("../../models/killick-4m/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../models/killick-4m/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../models/killick-4m/tokenizer_config.json")),
];

impl FileSet {
    /// The model embedded in this library, labelled [`EMBEDDED`]: a Llama of 3.8 million parameters that relies on its anchors
    /// (one `<AC>` after each sentence; the policy is recorded with it), trained on English religious prose. About 8 MB.
    pub fn embedded() -> Self {
        let shared = |bytes| -> Arc<dyn Source> { Arc::new(StaticSource(bytes)) };
        Self::new(EMBEDDED, FILES.map(|(name, bytes)| (name.to_owned(), shared(bytes))).into())
    }
}
