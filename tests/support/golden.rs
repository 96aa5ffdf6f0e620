//! PyTorch's figures in tests/data, and the comparison of a run with them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::path::PathBuf;

use killick::kv::{Policy, PolicySpec, Trained};
use serde_json::Value;

/// A file or folder of tests/data. A test program that runs on another machine than it was built on is told by `KILLICK_SOURCE` where
/// a copy of the tree is (tools/bench-gpu.sh).
pub fn data(name: &str) -> PathBuf {
    let tree = std::env::var_os("KILLICK_SOURCE").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(tree).join("tests/data").join(name)
}

pub fn json(name: &str) -> Value {
    let path = data(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn spec(case: &Value) -> PolicySpec {
    serde_json::from_value(case["spec"].clone()).expect("a policy spec")
}

pub fn policy(case: &Value, trained: impl Into<Trained>) -> Policy {
    spec(case).resolve(trained).expect("a policy that resolves")
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list").as_slice()
}

pub fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| u32::try_from(id.as_u64().expect("an id")).expect("32 bits")).collect()
}

pub fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|number| number.as_f64().expect("a number")).collect()
}

pub fn name(value: &Value) -> &str {
    value["name"].as_str().expect("a name")
}

/// Little-endian 32-bit floats in base 64 (RFC 4648).
pub fn base64_floats(text: &str) -> Vec<f32> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no digit of base 64"),
    };
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = (bits << 6) | u32::from(digit(c));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().expect("4 bytes"))).collect()
}

/// The largest difference of any token, and the difference of the means.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    pub token: f64,
    pub at: usize,
    pub mean: f64,
}

pub fn difference(got: &[f32], want: &[f64]) -> Difference {
    assert_eq!(got.len(), want.len(), "number of scored tokens");
    let count = got.len() as f64;
    let mut result = Difference { token: 0.0, at: 0, mean: 0.0 };
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        let token = (f64::from(*got) - want).abs();
        if token > result.token || token.is_nan() {
            (result.token, result.at) = (token, at);
        }
        result.mean += (f64::from(*got) - want) / count;
    }
    result.mean = result.mean.abs();
    result
}

/// Sum of squared differences over the sum of squares of the reference.
pub fn nmse(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "number of values");
    let square = |x: f64| x * x;
    let error: f64 = got.iter().zip(want).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    error / want.iter().map(|b| square(f64::from(*b))).sum::<f64>()
}
