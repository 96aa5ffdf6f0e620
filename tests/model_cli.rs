//! The program as a user runs it, with SmolLM2-135M-Instruct.

mod support {
    pub mod gpu;
    pub mod skip;
    pub mod smollm2;
}

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::gpu::gpu;
use support::smollm2;

/// PyTorch's greedy ids after "The capital of France is" (tests/data/smollm2/greedy.json).
const CAPITAL: [u32; 30] = [
    7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34, 216, 33, 34, 42, 33,
    34, 42, 37, 35, 30, 2,
];

/// The model's file. Where it or a device is missing, this program is skipped.
fn model() -> String {
    gpu();
    smollm2::needed().display().to_string()
}

/// What the program prints for these arguments on the model, with `input` on its standard input.
fn killick(command: &str, flags: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args([command, "--model", &model()])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the input is read");
    child.wait_with_output().expect("the program ends")
}

fn generate(flags: &[&str], input: &str) -> Output {
    killick("generate", flags, input)
}

/// Lines into a chat, and what came to standard output and standard error.
fn chat(flags: &[&str], lines: &str) -> (String, String) {
    let output = killick("chat", &[&["--policy", "sepllm"], flags].concat(), lines);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

fn document(flags: &[&str], input: &str) -> Value {
    let output = generate(&[&["--json"], flags].concat(), input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn the_capital_of_france_is_what_pytorch_says() {
    let result = document(&["-", "--max-tokens", "40", "--dtype", "f32"], "The capital of France is");
    let keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["model", "prompt_ids", "ids", "text", "stop_reason", "seed", "kv", "timing", "adapter"]
    );
    let timing: Vec<&str> = result["timing"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(timing, ["load_ms", "prefill_ms", "decode_ms", "prefill_tps", "decode_tps"]);
    assert_eq!(result["prompt_ids"], serde_json::json!([504, 3575, 282, 4649, 314]));
    assert_eq!(result["ids"], serde_json::json!(CAPITAL), "an end-of-text token is the last id");
    assert_eq!(result["text"], " Paris.\n\nThe answer is: 2018-01-22 12:12:53.", "and is not shown");
    assert_eq!(result["stop_reason"], "eos");
    assert_eq!(result["kv"]["seen"], 34, "the last token is not consumed");
}

#[test]
fn text_streams_to_standard_output_and_statistics_to_standard_error() {
    let output =
        generate(&["The capital of France is", "--max-tokens", "2", "--stats", "--dtype", "f32"], "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), " Paris.\n");
    let statistics = String::from_utf8_lossy(&output.stderr);
    for word in ["7042 30", "tokens/s", "live", "planned before the first token"] {
        assert!(statistics.contains(word), "{statistics}");
    }
}

#[test]
fn the_system_prompt_can_be_pinned() {
    let flags = [
        "--chat",
        "--system",
        "Answer in one word.",
        "--pin",
        "system",
        "--policy",
        "sepllm",
        "--max-tokens",
        "3",
        // Where the cache lies in buffers its bytes are those of the slots; a texture comes in whole rows.
        "--family",
        "gpu",
    ];
    let result = document(&flags, "What is the capital of France?");
    // Token 1 opens each turn; the prompt begins with the system's, so the second one opens the user's.
    let prompt = result["prompt_ids"].as_array().unwrap();
    let user = prompt.iter().skip(1).position(|id| *id == 1).unwrap() + 1;
    assert!(prompt[0] == 1 && prompt.len() > user + 8, "{prompt:?}");
    let plain = document(
        &flags[..3].iter().chain(&flags[5..]).copied().collect::<Vec<_>>(),
        "What is the capital of France?",
    );
    let entry = 46_080;
    let slots = |result: &Value| result["kv"]["bytes_allocated"].as_u64().unwrap() / entry;
    // Pinned is everything before the user's words: the system's turn, and the three tokens that open the user's.
    let default_sinks = 3;
    assert_eq!(slots(&result) - slots(&plain) + default_sinks, user as u64 + 3);
}

#[test]
fn the_same_seed_writes_the_same_text() {
    let draw = |seed: &str| {
        let flags =
            ["Once upon a time", "--max-tokens", "8", "--temperature", "1.5", "--seed", seed, "--ignore-eos"];
        document(&flags, "")["ids"].clone()
    };
    let first = draw("7");
    assert_eq!(first, draw("7"));
    assert_ne!(first, draw("8"));
}

#[test]
fn full_stops_at_its_planned_capacity() {
    let result = document(&["The capital of France is", "--ctx", "8", "--dtype", "f32"], "");
    assert_eq!(result["stop_reason"], "context_full");
    assert_eq!(result["ids"], serde_json::json!(CAPITAL[..4]));
}

/// `head` closing the pipe is no error.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(["generate", "The capital of France is", "--model", &model(), "--max-tokens", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_stop_string_ends_the_text_and_is_not_shown() {
    // "answer" and " is" are two tokens.
    let flags = ["The capital of France is", "--stop", "answer is", "--stop", "Berlin", "--dtype", "f32"];
    let result = document(&flags, "");
    assert_eq!(result["text"], " Paris.\n\nThe ");
    assert_eq!(result["stop_reason"], "stop");
    assert_eq!(result["ids"], serde_json::json!(CAPITAL[..7]), "up to the token that completes it");
}

#[test]
fn log_probabilities_are_reported_when_asked_for() {
    let result = document(&["The capital of France is", "--max-tokens", "2", "--logprobs", "3"], "");
    let tokens = result["logprobs"].as_array().unwrap();
    assert_eq!(tokens.len(), 2);
    for (token, id) in tokens.iter().zip(CAPITAL) {
        let top = token["top"].as_array().unwrap();
        assert_eq!((top.len(), &top[0][0]), (3, &serde_json::json!(id)), "greedy takes the likeliest");
        assert_eq!(token["chosen"], top[0][1]);
        assert!(top[0][1].as_f64() > top[1][1].as_f64() && top[0][1].as_f64() < Some(0.0), "{top:?}");
    }
}

/// What is under way is still written; then the program ends as shells expect.
#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_written() {
    use std::io::Read;
    let mut child = Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(["generate", "Once upon a time", "--model", &model(), "--max-tokens", "400", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut out = child.stdout.take().expect("a pipe");
    let mut first = [0_u8; 3];
    out.read_exact(&mut first).expect("some text");
    // The shell's own `kill`: the program of that name is not on every system.
    let sent =
        Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().expect("a shell");
    assert!(sent.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the end");
    assert!(rest.ends_with('\n') && rest.split_whitespace().count() < 200, "{rest:?}");
    assert_eq!(child.wait().expect("the program ends").code(), Some(130));
}

/// Lines in, answers out; what the program itself says goes to standard error when there is no terminal.
#[test]
fn a_chat_answers_line_by_line() {
    let lines = "Name a colour.\n/anchors\n/nonsense\n\nAnother one.\n/stats\n/undo\n/undo\n/reset\n/help\n/quit\nnot read\n";
    let (said, told) = chat(&["--temperature", "0", "--max-tokens", "6"], lines);
    let flags = ["--chat", "--policy", "sepllm", "--max-tokens", "6"];
    let first = document(&flags, "Name a colour.")["text"].as_str().unwrap().to_owned();
    assert!(said.starts_with(&format!("{first}\n")), "{said:?} does not begin with {first:?}");
    assert!(said.len() > first.len() + 5, "a second answer: {said:?}");
    for words in [
        "sepllm",
        "Name a colour.",
        "no command /nonsense",
        "2 turns",
        "endless",
        "was taken back",
        "no turn to take back",
        "is forgotten",
        "/anchors",
        "cut at --max-tokens",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }
}

#[test]
fn a_question_is_asked_again_for_another_answer() {
    let (said, told) = chat(
        &["--temperature", "1.3", "--seed", "3", "--max-tokens", "12"],
        "Tell me of the sea.\n/retry\n/stats\n/undo\n/retry\n",
    );
    let answers: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(answers.len() >= 2 && answers[0] != answers[answers.len() - 1], "{said}");
    assert!(told.contains("1 turns") && told.contains("temperature 1.3"), "{told}");
    assert!(told.contains("no question to ask again"), "{told}");
}

/// A sampler's setting, a form, and the makers' silence: JSON comes out of a model that was asked for prose.
#[test]
fn an_answer_can_be_held_to_a_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schema.json");
    let schema = r#"{"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}, "people": {"type": "integer", "minimum": 0, "maximum": 99999999}},
        "required": ["city", "people"], "additionalProperties": false}"#;
    std::fs::write(&file, schema).unwrap();
    let file = file.display().to_string();
    let result =
        document(&["--chat", "--json-schema", &file, "--max-tokens", "60"], "Say something about Paris.");
    let answer: Value = serde_json::from_str(result["text"].as_str().unwrap()).expect("JSON");
    assert!(answer["city"].is_string() && answer["people"].is_u64(), "{answer}");
    assert_eq!(result["stop_reason"], "eos");
    std::fs::write(&file, r#"{"type": "colour"}"#).unwrap();
    let output = generate(&["x", "--json-schema", &file], "");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("schema.json") && message.contains("colour"),
        "{message}"
    );
}
