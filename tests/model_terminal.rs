//! A conversation in a terminal, with SmolLM2-135M-Instruct: what Ctrl-C takes back, and what is kept whatever ends the program.

mod support {
    pub mod gpu;
    pub mod skip;
    pub mod smollm2;
}

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::gpu::gpu;
use support::smollm2;

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

/// What the terminal shows after `steps` (tests/support/terminal.py) of a chat whose state lies under `home`.
fn chat(home: &Path, steps: &Value) -> String {
    gpu();
    let output = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py"))
        .arg(steps.to_string())
        .arg(env!("CARGO_BIN_EXE_killick"))
        // Every answer is cut at its eighth token, so that its end can be waited for.
        .args(["chat", "--max-tokens", "8", "--temperature", "0", "--ignore-eos", "--model"])
        .arg(smollm2::needed())
        .env("XDG_STATE_HOME", home)
        .env("TERM", "xterm")
        .output()
        .expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The prompt, after an answer or before the first.
const PROMPT: &str = r"> [^>\n]*$";

#[test]
fn ctrl_c_takes_a_question_back_while_it_is_read_and_the_conversation_goes_on() {
    let home = tempfile::tempdir().unwrap();
    // Some thousands of tokens, which a software device reads for many seconds.
    let long = "The anchor holds the ship. ".repeat(1200);
    let shown = chat(
        home.path(),
        &json!([
            {"expect": PROMPT},
            {"send": "Say hello.\r"},
            {"expect": "cut at"},
            {"expect": PROMPT},
            // Pasted, as terminals mark it.
            {"send": format!("\u{1b}[200~{long}\u{1b}[201~")},
            {"send": "\r"},
            {"expect": "reading"},
            {"send": CTRL_C},
            // Two chunks later at the latest; the rest would take much longer.
            {"expect": "never asked", "seconds": 30},
            {"expect": PROMPT},
            {"send": "/stats\r"},
            {"expect": "1 turns"},
            {"expect": PROMPT},
            {"send": CTRL_C},
            {"expect": "ends the chat"},
            {"expect": PROMPT},
            {"send": "And goodbye?\r"},
            {"expect": "cut at"},
            {"expect": PROMPT},
            {"send": "/stats\r"},
            {"expect": "2 turns"},
            {"expect": PROMPT},
            {"send": CTRL_D},
        ]),
    );
    assert!(!shown.contains("panicked"), "{shown}");
}

/// The speed under which people judge a model is that of the answer, however long the question was.
#[test]
fn the_prompt_tells_the_speed_of_the_answer_and_how_long_its_first_token_took() {
    let home = tempfile::tempdir().unwrap();
    let question = "The anchor holds the ship. ".repeat(40);
    let shown = chat(
        home.path(),
        &json!([
            {"expect": PROMPT},
            {"send": format!("{question}\r")},
            {"expect": "cut at"},
            {"expect": "first after [0-9.]+ s"},
            {"send": CTRL_D},
        ]),
    );
    let number = |before: &str| -> f64 {
        let end = shown.rfind(before).unwrap_or_else(|| panic!("{before:?} is not in {shown}"));
        let from = shown[..end].trim_end().rfind(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap();
        shown[from + 1..end].trim().parse().unwrap()
    };
    let speed = number(" tok/s, first after");
    let rest = &shown[shown.rfind("first after ").unwrap() + "first after ".len()..];
    let first: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    // Seven tokens follow the first one. If the question counted, they would take as long as it did at least.
    assert!(speed * first > 14.0, "{speed} tokens/s, the first after {first} s");
}

#[test]
fn the_history_survives_a_kill_and_two_chats_at_once() {
    let home = tempfile::tempdir().unwrap();
    let first = json!([{"expect": PROMPT}, {"send": "/help\r"}, {"expect": "Ctrl-C"}, {"send": "/stats\r"}, {"expect": "room"}, {"signal": 9}]);
    chat(home.path(), &first);
    let history = || std::fs::read_to_string(home.path().join("killick/history")).unwrap();
    assert!(history().contains("/help\n") && history().contains("/stats\n"), "{}", history());
    std::thread::scope(|scope| {
        for command in ["/anchors", "/undo"] {
            let steps = json!([{"expect": PROMPT}, {"send": format!("{command}\r")}, {"expect": "\\("}, {"expect": PROMPT}, {"send": CTRL_D}]);
            let home = home.path();
            scope.spawn(move || chat(home, &steps));
        }
    });
    for line in ["/help", "/stats", "/anchors", "/undo"] {
        assert!(history().lines().any(|kept| kept == line), "{line} is missing in:\n{}", history());
    }
}
