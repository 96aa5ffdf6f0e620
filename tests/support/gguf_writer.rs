//! Writes GGUF files, valid ones and, field by field, broken ones.
//!
//! Every number that a reader must distrust can be set by hand: the writer computes what is `None`
//! and writes the rest as told. After the format's specification (ggml, `docs/gguf.md`).

/// Numbers of metadata types.
pub mod kind {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
}

/// Numbers of tensor types.
pub mod ggml {
    pub const F32: u32 = 0;
    pub const F16: u32 = 1;
    pub const Q4_0: u32 = 2;
    pub const Q4_1: u32 = 3;
    pub const Q8_0: u32 = 8;
    pub const Q4_K: u32 = 12;
    pub const IQ4_XS: u32 = 23;
    pub const BF16: u32 = 30;
}

/// A metadata value: its type's number and its bytes.
#[derive(Clone)]
pub struct Value(pub u32, pub Vec<u8>);

impl Value {
    pub fn u32(value: u32) -> Self {
        Self(kind::U32, value.to_le_bytes().to_vec())
    }

    pub fn u64(value: u64) -> Self {
        Self(kind::U64, value.to_le_bytes().to_vec())
    }

    pub fn i32(value: i32) -> Self {
        Self(kind::I32, value.to_le_bytes().to_vec())
    }

    pub fn f32(value: f32) -> Self {
        Self(kind::F32, value.to_le_bytes().to_vec())
    }

    pub fn bool(value: bool) -> Self {
        Self(kind::BOOL, vec![value.into()])
    }

    pub fn string(value: impl AsRef<[u8]>) -> Self {
        Self(kind::STRING, string(value))
    }

    pub fn strings(values: &[impl AsRef<[u8]>]) -> Self {
        Self::array(kind::STRING, values.len() as u64, values.iter().flat_map(string).collect())
    }

    pub fn i32s(values: &[i32]) -> Self {
        Self::array(kind::I32, values.len() as u64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    pub fn f32s(values: &[f32]) -> Self {
        Self::array(kind::F32, values.len() as u64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An array that claims `count` elements and holds `bytes`.
    pub fn array(kind: u32, count: u64, bytes: Vec<u8>) -> Self {
        Self(kind::ARRAY, [kind.to_le_bytes().to_vec(), count.to_le_bytes().to_vec(), bytes].concat())
    }
}

/// A length and as many bytes.
pub fn string(value: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = value.as_ref();
    [(bytes.len() as u64).to_le_bytes().as_slice(), bytes].concat()
}

/// A tensor; dimensions fastest first, as in the file.
#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub dtype: u32,
    pub data: Vec<u8>,
    /// The offset to claim, instead of the right one.
    pub offset: Option<u64>,
    /// The number of dimensions to claim.
    pub n_dims: Option<u32>,
}

/// A GGUF file to be.
#[derive(Clone)]
pub struct Gguf {
    pub magic: [u8; 4],
    pub version: u32,
    pub n_tensors: Option<u64>,
    pub n_entries: Option<u64>,
    pub entries: Vec<(Vec<u8>, Value)>,
    pub tensors: Vec<Tensor>,
    pub alignment: usize,
}

impl Gguf {
    pub fn new(version: u32) -> Self {
        Self {
            magic: *b"GGUF",
            version,
            n_tensors: None,
            n_entries: None,
            entries: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }

    /// Sets a metadata value, replacing one of the same key.
    pub fn set(&mut self, key: &str, value: Value) {
        match self.entries.iter_mut().find(|(name, _)| name == key.as_bytes()) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key.into(), value)),
        }
    }

    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(name, _)| name != key.as_bytes());
    }

    pub fn add_tensor(&mut self, name: &str, dims: &[u64], dtype: u32, data: Vec<u8>) {
        let (name, dims) = (name.into(), dims.to_vec());
        self.tensors.push(Tensor { name, dims, dtype, data, offset: None, n_dims: None });
    }

    /// The tensor called `name`.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors
            .iter_mut()
            .find(|tensor| tensor.name == name.as_bytes())
            .expect("a tensor of the tiny model")
    }

    /// Everything before the tensor data, without padding.
    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, Value(kind, bytes)) in &self.entries {
            out.extend(string(key));
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            out.extend(string(&tensor.name));
            out.extend(tensor.n_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.dtype.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment) as u64;
        }
        out
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            out.extend(&tensor.data);
        }
        out
    }
}
