//! `--kv` and the plan: fewer bytes of keys and values, in the cache and in the scratch of a chunk, and nothing else.

mod support {
    pub mod golden;
}

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::golden::data;

fn inspect(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    let model = data("tiny/gqa");
    command.arg("inspect").arg("--model").arg(model).args(["--policy", "anchor", "--anchor-ids", "30,7"]);
    command.args(flags).output().unwrap()
}

fn plan(flags: &[&str]) -> Value {
    let output = inspect(&[&["--json"], flags].concat());
    assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["plan"].clone()
}

#[test]
fn inspect_plans_16_bit_keys_and_values() {
    let (floats, half) = (plan(&["--kv", "f32"]), plan(&["--kv", "f16"]));
    assert_eq!(floats, plan(&[]), "32-bit floats are the default");
    assert_eq!((&floats["kv_format"], &half["kv_format"]), (&json!("f32"), &json!("f16")));
    let bytes = |plan: &Value, line: usize| plan["lines"][line]["bytes"].as_u64().unwrap();
    // Three layers, K and V, two heads of 16.
    assert_eq!(half["entry_bytes"], 3 * 2 * 2 * 16 * 2);
    assert_eq!(bytes(&half, 0), bytes(&floats, 0), "weights");
    assert_eq!(2 * bytes(&half, 1), bytes(&floats, 1), "kv cache");
    // A chunk of 128 rows of k and v.
    assert_eq!(bytes(&half, 2) + 128 * 2 * 2 * 16 * 2, bytes(&floats, 2), "working memory");
    assert_eq!(half["slots"], floats["slots"]);
}

#[test]
fn inspect_plans_keys_and_values_of_bytes() {
    let (floats, bytes_of_heads) = (plan(&["--kv", "f32"]), plan(&["--kv", "q8_0"]));
    assert_eq!(bytes_of_heads["kv_format"], json!("q8_0"));
    let bytes = |plan: &Value, line: usize| plan["lines"][line]["bytes"].as_u64().unwrap();
    // Three layers, K and V, two heads of 16 bytes and a scale, instead of 64 bytes.
    assert_eq!(bytes_of_heads["entry_bytes"], 3 * 2 * 2 * (16 + 4));
    assert_eq!(bytes(&bytes_of_heads, 0), bytes(&floats, 0), "weights");
    assert_eq!(64 * bytes(&bytes_of_heads, 1), 20 * bytes(&floats, 1), "kv cache");
    assert_eq!(bytes(&bytes_of_heads, 2) + 128 * 2 * 2 * (64 - 20), bytes(&floats, 2), "working memory");
    assert_eq!(bytes_of_heads["slots"], floats["slots"]);
}

#[test]
fn inspect_says_the_format_and_knows_no_others() {
    let said = inspect(&["--kv", "f16"]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("live slots of 384 bytes in f16"), "{text}");
    let said = inspect(&["--kv", "q8_0"]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("live slots of 240 bytes in q8_0"), "{text}");
    let wrong = inspect(&["--kv", "q4_0"]);
    let told = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && told.contains("[possible values: f32, f16, q8_0]"), "{told}");
}
