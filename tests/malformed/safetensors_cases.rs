//! Malformed safetensors files and shard indices.

use serde_json::json;

use super::cases::{Case, raw_weights, set, weights};
use crate::support::safetensors_writer::{Safetensors, file};
use crate::support::tiny_model::{CONFIG, TinyModel};

const INDEX: &str = "model.safetensors.index.json";
/// The tensors of the tiny model that come first, second and last in the file.
const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const LAST: &str = "model.layers.0.mlp.down_proj.weight";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = header();
    cases.extend(tensors());
    cases.extend(shards());
    cases
}

fn header() -> Vec<Case> {
    let length = |n: u64| [n.to_le_bytes().as_slice(), b"{}"].concat();
    let twice = || {
        let good = TinyModel::new().safetensors();
        let header = good.header().replacen('{', &format!("{{\"{EMBEDDING}\":{{}},"), 1);
        file(&header, &[])
    };
    vec![
        raw_weights(19, "safetensors header length", "Truncated", "the header", vec![1, 0, 0]),
        raw_weights(19, "safetensors header length", "OverCap", "9223372036854775808", length(1 << 63)),
        raw_weights(19, "safetensors header length", "OverCap", "100000001", length(100_000_001)),
        raw_weights(19, "safetensors header length", "Truncated", "the header", length(3)),
        raw_weights(19, "safetensors header not JSON", "Json", "the header", file("{\"a\":", &[])),
        raw_weights(19, "safetensors header not JSON", "Json", "the header", file("\u{0}", &[])),
        raw_weights(19, "safetensors header not an object", "WrongType", "the file", file("[]", &[])),
        raw_weights(19, "duplicate JSON key", "Duplicate", EMBEDDING, twice()),
        raw_weights(
            19,
            "duplicate JSON key",
            "Duplicate",
            "dtype",
            file(r#"{"a":{"dtype":"F32","dtype":"F16"}}"#, &[]),
        ),
        weights(19, "metadata not strings", "WrongType", "__metadata__.n", |f| {
            f.overrides.insert("__metadata__".to_owned(), json!({"n": 1}));
        }),
        weights(19, "metadata not strings", "WrongType", "__metadata__", |f| {
            f.overrides.insert("__metadata__".to_owned(), json!([1]));
        }),
    ]
}

/// Damages the embedding's entry in the header; `edit` gets the right one.
fn entry(
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    edit: impl FnOnce(&mut serde_json::Value),
) -> Case {
    entry_of(EMBEDDING, row, class, variant, says, edit)
}

/// Damages one tensor's entry in the header.
fn entry_of(
    name: &str,
    row: u32,
    class: &'static str,
    variant: &'static str,
    says: &'static str,
    edit: impl FnOnce(&mut serde_json::Value),
) -> Case {
    weights(row, class, variant, says, |f| {
        let header: serde_json::Value = serde_json::from_str(&f.header()).expect("the writer's own JSON");
        let mut entry = header[name].clone();
        edit(&mut entry);
        f.overrides.insert(name.to_owned(), entry);
    })
}

fn tensors() -> Vec<Case> {
    vec![
        entry(8, "dimension zero", "Invalid", EMBEDDING, |e| e["shape"] = json!([0, 8])),
        entry(8, "element count overflow", "Invalid", "below 2^64", |e| {
            e["shape"] = json!([1_u64 << 32, 1_u64 << 32]);
        }),
        entry(8, "dimension count", "OverCap", "shape count", |e| e["shape"] = json!(vec![1; 9])),
        entry(8, "negative dimension", "WrongType", "shape", |e| e["shape"] = json!([-12, 8])),
        entry(10, "unknown data type", "UnknownDtype", "I32", |e| e["dtype"] = json!("I32")),
        entry(10, "unknown data type", "UnknownDtype", "Q9", |e| e["dtype"] = json!("Q9")),
        entry(10, "unknown data type", "WrongType", "dtype", |e| e["dtype"] = json!(1)),
        entry_of(NORM, 11, "offset overlaps", "Invalid", "right after", |e| {
            e["data_offsets"] = json!([380, 412]);
        }),
        entry(11, "size not of the shape", "Invalid", "data_offsets", |e| e["data_offsets"] = json!([0, 0])),
        entry(11, "size not of the shape", "Invalid", "data_offsets", |e| e["shape"] = json!([11, 8])),
        entry(11, "end before start", "Invalid", "data_offsets", |e| e["data_offsets"] = json!([8, 0])),
        entry(11, "offset count", "OverCap", "data_offsets count", |e| e["data_offsets"] = json!([0, 1, 2])),
        entry(11, "offset count", "Invalid", "data_offsets", |e| e["data_offsets"] = json!([0])),
        entry(13, "tensor entry incomplete", "Missing", "dtype", |e| {
            e.as_object_mut().expect("an object").remove("dtype");
        }),
        entry(13, "tensor entry not an object", "WrongType", EMBEDDING, |e| *e = json!(7)),
        weights(11, "offset leaves a hole", "Invalid", "right after", |f| {
            let hole = json!({"dtype": "F32", "shape": [1], "data_offsets": [1 << 20, (1 << 20) + 4]});
            f.overrides.insert("hole".to_owned(), hole);
        }),
        raw_weights(19, "data after the last tensor", "Invalid", "end of the last tensor", {
            [TinyModel::new().safetensors().bytes(), vec![0; 4]].concat()
        }),
        weights(11, "data past the end", "Truncated", "model.norm.weight", |f| {
            f.tensors.sort_by_key(|(name, ..)| name == "model.norm.weight");
            let header = f.header();
            f.overrides = serde_json::from_str(&header).expect("JSON");
            f.tensors.last_mut().expect("a tensor").3.pop();
        }),
        weights(13, "tensor name empty", "Invalid", "tensor \"\"", |f| f.tensors[0].0.clear()),
        weights(13, "tensor name too long", "OverCap", "name length", |f| f.tensors[0].0 = "n".repeat(1025)),
        weights(13, "tensor name with control characters", "Invalid", r"\u{7}", |f| {
            f.tensors[0].0 = "\u{7}".to_owned();
        }),
        weights(13, "tensor missing", "Missing", "layers.0.mlp.up_proj.weight", |f| {
            f.tensors.iter_mut().for_each(|t| t.0 = t.0.replace("up_proj", "upproj"));
        }),
        weights(15, "shape not of the config", "Shape", "q_proj", |f| {
            let q = f.tensors.iter_mut().find(|t| t.0.contains("q_proj")).expect("a Q matrix");
            q.2 = vec![4, 16];
        }),
        weights(15, "weight without meaning", "Unsupported", "self_attn.q_norm.weight", |f| {
            f.add("model.layers.0.self_attn.q_norm.weight", "F32", &[4], vec![0; 16]);
        }),
        weights(15, "weight without meaning", "Unsupported", "q_proj.bias", |f| {
            f.add("model.layers.0.self_attn.q_proj.bias", "F32", &[8], vec![0; 32]);
        }),
        entry_of(LAST, 23, "offset beyond 32 bits", "Invalid", "4294967296", |e| {
            e["data_offsets"] = json!([1_u64 << 32, (1_u64 << 32) + 384]);
        }),
        entry(23, "offset beyond 64 bits", "WrongType", "data_offsets", |e| {
            e["data_offsets"] = json!([1e300, 1e300]);
        }),
    ]
}

/// The tiny checkpoint in two shards whose index maps every tensor as `place` says.
fn sharded(
    class: &'static str,
    variant: &'static str,
    file: &'static str,
    says: &'static str,
    place: impl Fn(&str) -> serde_json::Value,
    damage: impl FnOnce(&mut [Safetensors; 2]),
) -> Case {
    let whole = TinyModel::new().safetensors();
    let map: serde_json::Map<_, _> = whole.tensors.iter().map(|t| (t.0.clone(), place(&t.0))).collect();
    let mut shards = [Safetensors::default(), Safetensors::default()];
    for tensor in whole.tensors {
        let shard = if tensor.0.contains("layers") { 1 } else { 0 };
        shards[shard].tensors.push(tensor);
    }
    damage(&mut shards);
    let files = set([
        (CONFIG, TinyModel::new().config().to_string().into_bytes()),
        (INDEX, json!({"metadata": {}, "weight_map": map}).to_string().into_bytes()),
        ("a.safetensors", shards[0].bytes()),
        ("b.safetensors", shards[1].bytes()),
    ]);
    Case { row: 18, class, variant, file, says, files }
}

fn right(name: &str) -> serde_json::Value {
    json!(if name.contains("layers") { "b.safetensors" } else { "a.safetensors" })
}

fn shards() -> Vec<Case> {
    let named = |class, says: &'static str, shard: &'static str| {
        sharded(class, "Invalid", INDEX, says, move |_| json!(shard), |_| {})
    };
    let index = |class, variant, says, text: &str| Case {
        row: 18,
        class,
        variant,
        file: INDEX,
        says,
        files: set([
            (CONFIG, TinyModel::new().config().to_string().into_bytes()),
            (INDEX, text.as_bytes().to_vec()),
        ]),
    };
    vec![
        named("shard outside the folder", "../x.safetensors", "../x.safetensors"),
        named("shard outside the folder", "/etc/x.safetensors", "/etc/x.safetensors"),
        named("shard outside the folder", "x.safetensors", "..\\x.safetensors"),
        named("shard outside the folder", "c:x.safetensors", "c:x.safetensors"),
        named("shard not safetensors", "config.json", "config.json"),
        named("shard not safetensors", "weight_map", ""),
        sharded("shard missing", "Missing", INDEX, "c.safetensors", |_| json!("c.safetensors"), |_| {}),
        sharded("shard name not text", "WrongType", INDEX, "weight_map", |_| json!(1), |_| {}),
        sharded("tensor in two shards", "Duplicate", "b.safetensors", "model.norm.weight", right, |shards| {
            let norm = shards[0].tensors.iter().find(|t| t.0 == "model.norm.weight").expect("a norm").clone();
            shards[1].tensors.push(norm);
        }),
        sharded(
            "tensor in another shard",
            "Invalid",
            INDEX,
            "weight_map.model",
            |name| json!(if name.contains("norm") { "a.safetensors" } else { "b.safetensors" }),
            |_| {},
        ),
        sharded("tensor not in its shard", "Missing", "b.safetensors", "up_proj", right, |shards| {
            shards[1].tensors.retain(|t| !t.0.contains("up_proj"));
        }),
        index("index without map", "Missing", "weight_map", "{}"),
        index("index not JSON", "Json", "the file", "{]"),
        index("index map not an object", "WrongType", "weight_map", r#"{"weight_map": []}"#),
    ]
}
