//! Writes safetensors files; the header may also be given as raw text.

use serde_json::{Map, Value, json};

/// Tensors to write: name, data type, shape (slowest dimension first), bytes.
#[derive(Clone, Default)]
pub struct Safetensors {
    pub tensors: Vec<(String, String, Vec<u64>, Vec<u8>)>,
    /// Header entries to use instead of the right ones, or besides them.
    pub overrides: Map<String, Value>,
}

impl Safetensors {
    pub fn add(&mut self, name: &str, dtype: &str, shape: &[u64], data: Vec<u8>) {
        self.tensors.push((name.to_owned(), dtype.to_owned(), shape.to_vec(), data));
    }

    /// The header's JSON text.
    pub fn header(&self) -> String {
        let mut header = Map::new();
        let mut start = 0;
        for (name, dtype, shape, data) in &self.tensors {
            let end = start + data.len();
            header
                .insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
            start = end;
        }
        header.extend(self.overrides.clone());
        Value::Object(header).to_string()
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let data: Vec<u8> = self.tensors.iter().flat_map(|(_, _, _, data)| data.clone()).collect();
        file(&self.header(), &data)
    }
}

/// A file from the text of its header and its data.
pub fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), data].concat()
}
