//! Malformed GGUF files: header, metadata, tensor table and vocabulary.

use killick::model_file::{FileSet, ReadFuture, Source};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::cases::{Case, gguf, gguf_bytes, key};
use crate::support::gguf_writer::{Gguf, Tensor, Value, ggml, kind, string};
use crate::support::tiny_model::{GGUF, TinyModel};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TAGS: &str = "general.tags";
const EMBEDDING: &str = "token_embd.weight";
const Q: &str = "blk.0.attn_q.weight";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = header();
    cases.extend(metadata());
    cases.extend(tensors());
    cases.extend(vocabulary());
    cases
}

fn header() -> Vec<Case> {
    vec![
        gguf(1, "magic", "Invalid", "magic is \"GGML\"", |f| f.magic = *b"GGML"),
        gguf_bytes(1, "empty file", "Other", "an empty file", Vec::new()),
        gguf(1, "version", "Invalid", "version is 0", |f| f.version = 0),
        gguf(1, "version", "Other", "GGUF file of version 1", |f| f.version = 1),
        gguf(1, "version", "Invalid", "version is 4", |f| f.version = 4),
        gguf(1, "byte order", "Other", "big-endian byte order", |f| f.version = 3_u32.swap_bytes()),
        gguf(2, "tensor count", "OverCap", "tensor table count is 65537", |f| f.n_tensors = Some(65_537)),
        gguf(2, "tensor count", "OverCap", "tensor table count", |f| f.n_tensors = Some(u64::MAX)),
        gguf(2, "tensor count", "Truncated", "tensor table", |f| f.n_tensors = Some(65_536)),
        gguf(2, "entry count", "OverCap", "metadata count", |f| f.n_entries = Some(1 << 63)),
        gguf(2, "entry count", "Truncated", "the metadata", |f| f.n_entries = Some(65_536)),
    ]
}

/// A file that gets shorter after its length was asked for.
struct Shrinking {
    claimed: u64,
    bytes: Vec<u8>,
    /// Whether the host hides it and gives what is left.
    is_silent: bool,
}

impl Source for Shrinking {
    fn len(&self) -> u64 {
        self.claimed
    }

    fn read_at(&self, offset: u64, len: usize) -> ReadFuture<'_> {
        let start = usize::try_from(offset).expect("a small file").min(self.bytes.len());
        let left = &self.bytes[start..];
        let read = match left.get(..len) {
            Some(bytes) => Ok(bytes.to_vec()),
            None if self.is_silent => Ok(left.to_vec()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        Box::pin(std::future::ready(read))
    }
}

fn shrinking(is_silent: bool) -> Case {
    let mut bytes = TinyModel::new().gguf().bytes();
    let claimed = bytes.len() as u64;
    bytes.truncate(200);
    let source: Arc<dyn Source> = Arc::new(Shrinking { claimed, bytes, is_silent });
    let files = FileSet::new("tiny", BTreeMap::from([(GGUF.to_owned(), source)]));
    Case {
        row: 20,
        class: "file shrinks while it is read",
        variant: "Io",
        file: GGUF,
        says: "reading",
        files,
    }
}

/// An array of one array of one array, and so on.
fn arrays_in_arrays(depth: usize) -> Value {
    (0..depth).fold(Value::array(kind::U8, 0, Vec::new()), |inner, _| Value::array(kind::ARRAY, 1, inner.1))
}

fn metadata() -> Vec<Case> {
    let entry = |name: Vec<u8>| (name, Value::bool(true));
    vec![
        gguf(3, "key empty", "Invalid", "metadata key 0 is \"\"", |f| f.entries.insert(0, entry(Vec::new()))),
        gguf(3, "key too long", "OverCap", "metadata key 0 length", |f| {
            f.entries.insert(0, entry(vec![b'k'; 65_536]));
        }),
        gguf(3, "key not UTF-8", "Invalid", "expected UTF-8", |f| {
            f.entries.insert(0, entry(vec![b'k', 0xFF]));
        }),
        gguf(3, "key duplicate", "Duplicate", "general.architecture", |f| {
            f.entries.push(f.entries[0].clone());
        }),
        key(
            4,
            "string too long",
            "OverCap",
            "general.architecture",
            Value::string(vec![b'x'; (1 << 20) + 1]),
        ),
        key(
            4,
            "string length",
            "Truncated",
            "general.name",
            Value(kind::STRING, u64::MAX.to_le_bytes().to_vec()),
        ),
        key(
            4,
            "string past the end",
            "Truncated",
            "general.name",
            Value(kind::STRING, (1_u64 << 19).to_le_bytes().to_vec()),
        ),
        key(4, "string not UTF-8", "Invalid", "general.architecture", Value::string([0xC3, 0x28])),
        key(5, "arrays in arrays", "Invalid", TAGS, arrays_in_arrays(9)),
        key(5, "arrays in arrays", "Truncated", TAGS, Value::array(kind::ARRAY, 1 << 24, Vec::new())),
        key(5, "array type", "Invalid", TAGS, Value::array(13, 1, vec![0; 8])),
        key(5, "value type", "Invalid", TAGS, Value(u32::MAX, Vec::new())),
        key(5, "array count", "OverCap", TAGS, Value::array(kind::U8, (1 << 24) + 1, Vec::new())),
        key(5, "array count", "OverCap", TAGS, Value::array(kind::U64, u64::MAX, Vec::new())),
        key(5, "array past the end", "Truncated", TAGS, Value::array(kind::U64, 1 << 24, Vec::new())),
        key(5, "array past the end", "Truncated", TAGS, Value::array(kind::STRING, 1 << 24, Vec::new())),
        gguf(6, "type confusion", "WrongType", "tokenizer.ggml.scores", |f| {
            f.set("tokenizer.ggml.model", Value::string("llama"));
            f.set("tokenizer.ggml.scores", Value::array(kind::BOOL, 12, vec![0; 12]));
        }),
        key(6, "type confusion", "WrongType", TOKENS, Value::i32s(&[1; 12])),
        key(6, "type confusion", "WrongType", "tokenizer.ggml.token_type", Value::f32s(&[1.0; 12])),
        key(6, "type confusion", "WrongType", "llama.block_count", Value::string("one")),
        key(6, "type confusion", "WrongType", "llama.attention.head_count", Value::i32s(&[2])),
        key(6, "type confusion", "WrongType", "general.architecture", Value::u32(0)),
        key(6, "type confusion", "WrongType", "tokenizer.chat_template", Value::bool(true)),
        key(6, "negative number", "WrongType", "llama.embedding_length", Value::i32(-8)),
        key(6, "boolean of 2", "Invalid", "tokenizer.ggml.add_bos_token", Value(kind::BOOL, vec![2])),
        key(7, "alignment zero", "Invalid", "general.alignment", Value::u32(0)),
        key(7, "alignment not a power of two", "Invalid", "general.alignment", Value::u32(48)),
        key(7, "alignment too large", "OverCap", "general.alignment", Value::u32(1 << 31)),
        key(7, "alignment type", "WrongType", "general.alignment", Value::u64(32)),
        key(
            21,
            "template too long",
            "OverCap",
            "tokenizer.chat_template",
            Value::string(vec![b'{'; (256 << 10) + 1]),
        ),
    ]
}

fn tensors() -> Vec<Case> {
    let rename = |name: Vec<u8>| move |f: &mut Gguf| f.tensors[0].name = name;
    vec![
        gguf(8, "dimension count", "OverCap", "dimension count is 5", |f| {
            f.tensor(EMBEDDING).n_dims = Some(5);
        }),
        gguf(8, "dimension count", "OverCap", "dimension count is 4294967295", |f| {
            f.tensor(EMBEDDING).n_dims = Some(u32::MAX);
        }),
        gguf(8, "dimension count", "Invalid", EMBEDDING, |f| f.tensor(EMBEDDING).dims = Vec::new()),
        gguf(8, "dimension zero", "Invalid", "no dimension of 0", |f| f.tensor(EMBEDDING).dims = vec![8, 0]),
        gguf(8, "element count overflow", "Invalid", "below 2^64", |f| {
            f.tensor(EMBEDDING).dims = vec![1 << 32, 1 << 32];
        }),
        gguf(9, "row not whole blocks", "Invalid", "multiple of 32", |f| {
            f.tensor(EMBEDDING).dtype = ggml::Q8_0;
        }),
        gguf(9, "row not whole blocks", "Invalid", "the block of Q4_1", |f| {
            // Whole blocks in all, but not per row.
            *f.tensor(EMBEDDING) =
                Tensor { dims: vec![16, 24], dtype: ggml::Q4_1, ..f.tensor(EMBEDDING).clone() };
        }),
        gguf(9, "row not whole blocks", "Invalid", "a multiple of 256 weights, the block of Q4_K", |f| {
            // 32 rows of 8 weights: one whole superblock in all.
            *f.tensor(EMBEDDING) =
                Tensor { dims: vec![8, 32], dtype: ggml::Q4_K, ..f.tensor(EMBEDDING).clone() };
        }),
        gguf(10, "unknown data type", "UnknownDtype", "IQ4_XS", |f| f.tensor(EMBEDDING).dtype = ggml::IQ4_XS),
        gguf(10, "unknown data type", "UnknownDtype", "number 255", |f| f.tensor(Q).dtype = 255),
        gguf(11, "offset not aligned", "Invalid", "multiple of 32", |f| f.tensors[1].offset = Some(1)),
        gguf(11, "offset overlaps", "Invalid", "right after the tensor before", |f| {
            f.tensors[1].offset = Some(0);
        }),
        gguf(11, "offset leaves a hole", "Invalid", "right after the tensor before", |f| {
            f.tensors[1].offset = Some(1 << 20);
        }),
        gguf(11, "data past the end", "Truncated", "output_norm.weight", |f| {
            f.tensors.sort_by_key(|tensor| tensor.name == b"output_norm.weight");
            f.tensors.last_mut().expect("a tensor").data.pop();
        }),
        gguf(11, "data past the end", "Truncated", EMBEDDING, |f| {
            f.tensors.sort_by_key(|tensor| tensor.name == EMBEDDING.as_bytes());
            f.tensor(EMBEDDING).dims = vec![8, 1 << 40];
        }),
        gguf(12, "total size overflow", "Truncated", EMBEDDING, |f| {
            f.tensor(EMBEDDING).dims = vec![(1 << 62) - 1];
        }),
        gguf(12, "size overflow by the type", "Invalid", "below 2^64", |f| {
            f.tensor(EMBEDDING).dims = vec![1 << 62];
        }),
        gguf(13, "tensor name too long", "OverCap", "tensor 0 name length is 64", rename(vec![b'n'; 64])),
        gguf(13, "tensor name empty", "Invalid", "tensor 0 name", rename(Vec::new())),
        gguf(
            13,
            "tensor name with control characters",
            "Invalid",
            r"\u{1b}[2J",
            rename(b"\x1b[2Jx".to_vec()),
        ),
        gguf(13, "tensor name duplicate", "Duplicate", Q, |f| f.tensors[0].name = Q.into()),
        gguf(13, "tensor missing", "Missing", "blk.0.ffn_up.weight", |f| {
            f.tensor("blk.0.ffn_up.weight").name = b"x".to_vec();
        }),
        gguf(15, "shape not of the config", "Shape", "[8, 8]", |f| f.tensor(Q).dims = vec![4, 16]),
        gguf(15, "shape not of the config", "Shape", EMBEDDING, |f| f.tensor(EMBEDDING).dims = vec![96]),
        gguf(15, "weight without meaning", "Unsupported", "blk.0.attn_k.bias", |f| {
            f.add_tensor("blk.0.attn_k.bias", &[4], ggml::F32, vec![0; 16]);
        }),
        gguf(15, "biases of queries alone", "Missing", "blk.0.attn_k.bias", |f| {
            f.add_tensor("blk.0.attn_q.bias", &[8], ggml::F32, vec![0; 32]);
        }),
        gguf(15, "weight without meaning", "Unsupported", "rope_factors.weight", |f| {
            f.add_tensor("rope_factors.weight", &[2], ggml::F32, vec![0; 8]);
        }),
        shrinking(false),
        shrinking(true),
        gguf(23, "offset beyond 32 bits", "Invalid", "8589934592", |f| f.tensors[1].offset = Some(1 << 33)),
        gguf(23, "offset beyond 63 bits", "Invalid", "9223372036854775808", |f| {
            f.tensors[1].offset = Some(1 << 63);
        }),
        gguf(23, "length beyond 32 bits", "Truncated", "4294967299", |f| {
            f.entries[0].1.1 = (1_u64 << 32 | 3).to_le_bytes().to_vec();
        }),
    ]
}

fn vocabulary() -> Vec<Case> {
    let tokens = |n: usize| Value::strings(&vec!["t"; n]);
    vec![
        key(17, "token too long", "OverCap", TOKENS, Value::strings(&[vec![b'x'; 1 << 20]])),
        key(17, "more tokens than rows", "OverCap", TOKENS, tokens(13)),
        key(
            17,
            "token count",
            "OverCap",
            TOKENS,
            Value::array(kind::STRING, (1 << 20) + 1, string("").repeat((1 << 20) + 1)),
        ),
        key(17, "kinds not one per token", "Invalid", "tokenizer.ggml.token_type", Value::i32s(&[1; 11])),
        key(17, "scores not one per token", "Invalid", "tokenizer.ggml.scores", Value::f32s(&[1.0; 13])),
        key(17, "score not a number", "Invalid", "tokenizer.ggml.scores", Value::f32s(&[f32::NAN; 12])),
        key(17, "merge of one part", "Invalid", "tokenizer.ggml.merges", Value::strings(&["ab"])),
        key(17, "token number too large", "Invalid", "tokenizer.ggml.bos_token_id", Value::u32(12)),
        key(17, "token number too large", "Invalid", "tokenizer.ggml.eot_token_id", Value::u32(u32::MAX)),
        key(17, "token number too large", "Invalid", "tokenizer.ggml.unknown_token_id", Value::u64(1 << 40)),
        gguf(17, "token number too large", "Invalid", "tokenizer.ggml.eos_token_id", |f| {
            f.set(TOKENS, tokens(2));
            f.remove("tokenizer.ggml.token_type");
        }),
        gguf(17, "tokenizer without algorithm", "Missing", "tokenizer.ggml.model", |f| {
            f.remove("tokenizer.ggml.model");
        }),
    ]
}
