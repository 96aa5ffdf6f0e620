//! What the program says in the words of the person who typed: flags by their names, one line number, standard input, and what to do.
//! No GPU is in sight.

#[path = "support/golden.rs"]
mod golden;
mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use golden::data;
use killick::model_file::FileSet;
use killick::{ModelFile, Opened, SamplerOptions};
use support::gguf_writer::Value;
use support::tiny_model::TinyModel;

fn killick(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(args)
        .env("VK_DRIVER_FILES", "/dev/null")
        .env("VK_ICD_FILENAMES", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // One that fails early does not read.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

/// Standard error of a call that fails before a device is asked for.
fn fails(args: &[&str], input: &str) -> String {
    let output = killick(args, input);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
    message
}

#[test]
fn a_setting_is_called_by_its_flag() {
    for (args, words) in [
        (vec!["generate", "x", "--ban", "99999"], "--ban is 99999, it must be"),
        (vec!["generate", "x", "--top-p", "0"], "--top-p is 0, it must be above 0"),
        (vec!["generate", "x", "--min-p", "2"], "--min-p is 2"),
        (vec!["generate", "x", "--temperature", "-1"], "--temperature is -1"),
        (vec!["generate", "x", "--repetition-penalty", "0"], "--repetition-penalty is 0"),
        (vec!["generate", "x", "--penalty-last-n", "2000"], "--penalty-last-n is 2000"),
        (vec!["generate", "x", "--logit-bias", "99999=1"], "--logit-bias is 99999"),
        (vec!["generate", "x", "--window", "0"], "--window is 0, allowed are 1"),
        (vec!["generate", "x", "--max-segment", "0"], "--max-segment is 0"),
        (vec!["generate", "x", "--max-anchors", "99999999"], "--max-anchors is 99999999"),
        (vec!["generate", "x", "--policy", "full", "--ctx", "0"], "--ctx is 0"),
        (vec!["generate", "x", "--anchor-ids", "9"], "--anchor-ids must name it too"),
        (vec!["generate", "x", "--stop", ""], "--stop is empty"),
        (vec!["eval", "perplexity", "-", "--max-length", "1"], "--max-length is 1, it must be at least 2"),
        (vec!["eval", "perplexity", "-", "--stride", "0"], "--stride is 0"),
        (vec!["eval", "recall", "--distances", "0"], "--distances is 0"),
        (vec!["eval", "recall", "--distractors", "0"], "--distractors is 0"),
    ] {
        let message = fails(&args, "A text of some words. And more.\n");
        assert!(message.contains(words), "{args:?}: {words:?} is not in {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn a_prompt_longer_than_the_context_says_what_can_be_done() {
    let message = fails(&["generate", &"word ".repeat(60), "--policy", "full", "--ctx", "10"], "");
    for words in ["the text has", "room for 10", "--ctx", "--policy sepllm"] {
        assert!(message.contains(words), "{words:?} is not in {message}");
    }
}

#[test]
fn a_dash_is_standard_input_wherever_a_text_is_read() {
    let bad = "{\"query\": \"Q\", \"choices\": [\"a\", \"b\"], \"gold\": \"0\"}\n";
    let message = fails(&["eval", "choices", "-"], bad);
    assert!(message.contains("standard input, line 1: field \"gold\" is \"0\", it"), "{message}");
    let message = fails(&["eval", "choices", "-"], "{\"query\": \"Q\n");
    assert!(message.contains("at column") && message.matches("line ").count() == 1, "{message}");
    // What is read there is measured: it is too short, not missing.
    assert!(fails(&["eval", "perplexity", "-"], "").contains("tokens in the text"), "perplexity");
    let no_such = fails(&["score", "--file", "-", "--policy", "full", "--ctx", "1"], "some words of a text");
    assert!(no_such.contains("room for 1"), "{no_such}");
}

/// A full disk is where the output goes, not an error of the model.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(["inspect", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && message.contains("writing standard output: No space"),
        "{message}"
    );
}

#[test]
fn a_schema_and_a_prompt_are_not_both_read_from_standard_input() {
    let message = fails(&["generate", "--json-schema", "-"], "{}");
    assert!(message.contains("--json-schema -") && message.contains("argument"), "{message}");
    let message = fails(&["generate", "x", "--json-schema", "-"], "{\"type\": \"colour\"}");
    assert!(message.contains("standard input") && message.contains("colour"), "{message}");
    let message = fails(&["generate", "x", "--reasoning", "hide"], "");
    assert!(message.contains("--reasoning needs --chat"), "{message}");
}

#[test]
fn what_is_piped_in_comes_before_the_prompt() {
    let count = |args: &[&str], input: &str| {
        let message = fails(&[&["generate", "--policy", "full", "--ctx", "1"], args].concat(), input);
        let number = message.split("the text has ").nth(1).and_then(|rest| rest.split(' ').next());
        number.and_then(|number| number.parse::<usize>().ok()).unwrap_or_else(|| panic!("{message}"))
    };
    let whole = count(&["notes of a day\nSummary:"], "");
    assert_eq!(count(&["Summary:"], "notes of a day"), whole);
    assert_eq!(count(&["Summary:"], "notes of a day\n"), whole);
    assert_eq!(count(&["-"], "notes of a day\nSummary:"), whole);
    assert!(count(&["Summary:"], "") < whole);
}

/// The makers' settings are taken where the user names none, from a folder as from a GGUF.
#[test]
fn the_makers_of_a_model_say_how_its_tokens_are_drawn() {
    let base = SamplerOptions { temperature: 0.7, top_p: 0.95, ..SamplerOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(data("tiny/gqa").join(file), folder.path().join(file)).unwrap();
    }
    let sampler = |text: &str| {
        std::fs::write(folder.path().join("generation_config.json"), text).unwrap();
        Opened::new(ModelFile::open_path(folder.path()).unwrap()).sampler(base.clone())
    };
    let said = sampler(
        r#"{"do_sample": true, "temperature": 0.6, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.05}"#,
    );
    let want = SamplerOptions {
        temperature: 0.6,
        top_k: 20,
        top_p: 1.0,
        min_p: 0.05,
        repetition_penalty: 1.05,
        ..base.clone()
    };
    assert_eq!(said, want);
    // Without a word on drawing these are what they are for other ways to search.
    for without in ["", r#""do_sample": false, "#, r#""do_sample": "yes", "#, r#""do_sample": null, "#] {
        let silent =
            sampler(&format!(r#"{{{without}"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.2}}"#));
        assert_eq!(silent, SamplerOptions { repetition_penalty: 1.2, ..base.clone() }, "{without}");
    }
    // What makes no sense is left out; a draw has a temperature.
    let odd = sampler(
        r#"{"do_sample": true, "temperature": "hot", "top_k": 2.5, "top_p": 7, "min_p": -1, "repetition_penalty": 0}"#,
    );
    assert_eq!(odd, SamplerOptions { temperature: 1.0, top_p: 1.0, ..base.clone() });
    assert_eq!(sampler(r#"{"do_sample": true, "top_k": 1e300}"#).top_k, 0);

    let mut gguf = TinyModel::new().gguf();
    for (key, value) in [
        ("temp", Value::f32(0.5)),
        ("top_k", Value::i32(40)),
        ("top_p", Value::f32(0.9)),
        ("penalty_repeat", Value::f32(1.125)),
        ("penalty_last_n", Value::i32(-1)),
        ("min_p", Value::string("much")),
    ] {
        gguf.set(&format!("general.sampling.{key}"), value);
    }
    let files = FileSet::from_bytes([("tiny.gguf".to_owned(), gguf.bytes())].into());
    let said = Opened::new(killick::block_on(ModelFile::open(files)).unwrap()).sampler(base.clone());
    assert_eq!((said.temperature, said.top_k, said.top_p), (0.5, 40, 0.9));
    assert_eq!(
        (said.repetition_penalty, said.penalty_last_n, said.min_p),
        (1.125, 64, 0.0),
        "what makes no sense"
    );
}
