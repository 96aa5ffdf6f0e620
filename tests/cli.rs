//! The program where no GPU is in sight: exit codes, one clear line for each mistake, and the memory plan.

mod support {
    pub mod golden;
}

use std::process::{Command, Output};

use serde_json::Value;
use support::golden::data;

fn killick(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(args)
        .env("VK_DRIVER_FILES", "/dev/null")
        .env("VK_ICD_FILENAMES", "/dev/null")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the program runs")
}

fn tiny() -> String {
    data("tiny/gqa").display().to_string()
}

/// Exit code and standard error; a panic is never an answer.
fn fails(args: &[&str]) -> (i32, String) {
    let output = killick(args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    (output.status.code().expect("an exit code"), message)
}

#[test]
fn mistakes_get_one_clear_line_and_exit_code_1() {
    let tiny = tiny();
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    let truncated = folder.path().join("cut.gguf");
    let whole = std::fs::read(data("tiny/gqa.f32.gguf")).unwrap();
    std::fs::write(&truncated, &whole[..whole.len() / 2]).unwrap();
    let truncated = truncated.display().to_string();
    for (args, words) in [
        (vec!["score", "--ids", "1", "--model", "no/such/path"], vec!["no/such/path", "no such file"]),
        (vec!["score", "--ids", "1", "--model", &empty], vec!["killick:"]),
        (vec!["inspect", "--model", &truncated], vec!["cut.gguf"]),
        (vec!["score", "--text", "hello", "--model", &tiny], vec!["gqa", "no tokenizer"]),
        (vec!["generate", "hello", "--model", &tiny], vec!["gqa", "no tokenizer"]),
        (vec!["score", "--file", "no-such.txt", "--model", &tiny], vec!["no-such.txt"]),
        (vec!["inspect", "--policy", "anchor", "--model", &tiny], vec!["--anchor-ids"]),
        (
            vec!["inspect", "--policy", "anchor", "--anchors", ".", "--model", &tiny],
            vec!["no tokenizer", "--anchor-ids"],
        ),
        (vec!["inspect", "--policy", "sepllm", "--anchor-ids", "321", "--model", &tiny], vec!["321"]),
        (vec!["inspect", "--policy", "window", "--window", "0", "--model", &tiny], vec!["window is 0"]),
        (vec!["inspect", "--policy", "window", "--ctx", "9", "--model", &tiny], vec!["ctx is 9"]),
        (
            vec!["inspect", "--policy", "streaming", "--sinks", "4294967295", "--model", &tiny],
            vec!["sinks is 4294967295"],
        ),
        (
            vec!["inspect", "--policy", "window", "--max-distance", "0", "--model", &tiny],
            vec!["max_distance is 0"],
        ),
        (vec!["inspect", "--max-binding", "70000", "--model", &tiny], vec!["70000"]),
        (vec!["inspect", "--max-binding", "0", "--model", &tiny], vec!["binds at most 0"]),
    ] {
        let (code, message) = fails(&args);
        assert_eq!(code, 1, "{args:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{args:?} does not say {word:?}: {message}");
        }
        assert_eq!(message.trim_end().lines().count(), 1, "{args:?}: {message}");
    }
}

#[test]
fn a_command_line_that_does_not_parse_is_exit_code_2() {
    let tiny = tiny();
    for args in [
        vec![],
        vec!["nonsense"],
        vec!["generate", "--model"],
        vec!["score", "--model", &tiny],
        vec!["score", "--model", &tiny, "--ids", "1", "--text", "x"],
        vec!["score", "--model", &tiny, "--ids", "one"],
        vec!["score", "--model", &tiny, "--ids", "-1"],
        vec!["score", "--model", &tiny, "--ids", "99999999999"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "sideways"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "chunk:0"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "chunk:"],
        vec!["inspect", "--model", &tiny, "--policy", "everything"],
        vec!["inspect", "--model", &tiny, "--window", "-3"],
        vec!["inspect", "--model", &tiny, "--isolated", "perhaps"],
        vec!["inspect", "--model", &tiny, "--dtype", "f64"],
        vec!["inspect", "--model", &tiny, "--max-binding", "8MiB"],
        vec!["inspect", "--model", &tiny, "--pin", "system", "--sinks", "3"],
        vec!["generate", "x", "--model", &tiny, "--system", "y"],
        vec!["generate", "x", "--model", &tiny, "--temperature", "warm"],
        vec!["generate", "x", "--model", &tiny, "--max-tokens", "-1"],
        vec!["devices", "--model", &tiny],
    ] {
        let (code, message) = fails(&args);
        assert_eq!(code, 2, "{args:?}: {message}");
    }
    assert!(killick(&["--help"]).status.success(), "--help");
    assert!(killick(&["--version"]).status.success(), "--version");
}

#[test]
fn without_a_gpu_the_message_says_what_to_do() {
    for args in [vec!["score", "--ids", "1,2", "--model", &tiny()], vec!["devices"]] {
        let (code, message) = fails(&args);
        assert_eq!(code, 3, "{args:?}: {message}");
        assert!(message.contains("mesa-vulkan-drivers"), "{message}");
    }
    let output = killick(&["devices", "--json"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "[]");
}

#[test]
fn inspect_plans_by_the_formula() {
    let flags = [
        "--policy",
        "anchor",
        "--anchor-ids",
        "7,30",
        "--sinks",
        "4",
        "--max-anchors",
        "20",
        "--max-segment",
        "40",
    ];
    let mut args = vec!["inspect", "--json", "--dtype", "f32"];
    args.extend(flags);
    let tiny = tiny();
    args.extend(["--model", &tiny]);
    let output = killick(&args);
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    for key in ["model", "format", "config", "tokenizer", "chat_template", "policy", "plan", "tensors"] {
        assert!(report.get(key).is_some(), "{key} is missing");
    }
    let policy = &report["policy"];
    assert_eq!(policy["name"], "anchor");
    assert_eq!(policy["anchors"], serde_json::json!([7, 30]));
    assert_eq!(
        [&policy["window"], &policy["sinks"], &policy["max_anchors"], &policy["max_segment"]],
        [1, 4, 20, 40]
    );
    assert_eq!(policy["max_distance"], 256, "the trained context");
    assert_eq!(policy["isolated"], true);
    // S, A + X, max(W, M) + X with X = 32; K and V of 2 heads of 16 in 3 layers.
    let plan = &report["plan"];
    assert_eq!(plan["slots"], serde_json::json!([4, 52, 72]));
    assert_eq!(plan["entry_bytes"], 3 * 2 * 2 * 16 * 4);
    let line = |what: &str| {
        let lines = plan["lines"].as_array().expect("lines");
        lines.iter().find(|line| line["what"] == what).expect("the line")["bytes"].as_u64().expect("bytes")
    };
    assert_eq!(line("kv cache"), (4 + 52 + 72) * 768);
    assert_eq!(
        line("weights") + line("kv cache") + line("working memory"),
        plan["total_bytes"].as_u64().unwrap()
    );
    assert_eq!(report["tensors"].as_array().unwrap().len(), 29, "embedding, norm, nine a layer");
}

#[test]
fn anchors_on_a_model_not_trained_for_them_are_one_warning() {
    let output = killick(&["inspect", "--policy", "anchor", "--anchor-ids", "7", "--model", &tiny()]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.contains("sepllm"), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    let quiet = killick(&["inspect", "--policy", "sepllm", "--anchor-ids", "7", "--model", &tiny()]);
    assert!(quiet.stderr.is_empty(), "{}", String::from_utf8_lossy(&quiet.stderr));
}

#[test]
fn every_flag_is_documented() {
    let doc = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md")).unwrap();
    let mut flags = 0;
    for command in ["generate", "score", "inspect", "devices"] {
        let help = String::from_utf8(killick(&[command, "--help"]).stdout).unwrap();
        let long = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).trim_matches('`'));
        for flag in long.filter(|flag| !matches!(*flag, "--help" | "--version" | "")) {
            assert!(doc.contains(flag), "docs/cli.md does not explain {flag} of {command}");
            flags += 1;
        }
    }
    assert!(flags > 40, "only {flags} flags were found");
}
