//! The program that makes the measurements, on a folder with the tiny model.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::super::device::gpu;
use super::super::support::bounds::bound;
use super::super::support::tiny_model::TinyModel;
use super::super::{Item, TEXT, TOKEN, open, some_items};

/// The program on a folder with the tiny model.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("model")).unwrap();
        for (name, bytes) in TinyModel::speaking().folder(3, "{{ messages }}") {
            std::fs::write(folder.path().join("model").join(name), bytes).unwrap();
        }
        std::fs::write(folder.path().join("text.txt"), TEXT).unwrap();
        let line = |item: Item| {
            json!({"query": item.query, "choices": item.choices, "gold": item.gold}).to_string() + "\n"
        };
        std::fs::write(
            folder.path().join("items.jsonl"),
            some_items().into_iter().map(line).collect::<String>(),
        )
        .unwrap();
        Self { folder }
    }

    fn run(&self, args: &str) -> Output {
        // Skips these tests where the program would find no device.
        gpu();
        let baseline = std::env::var("KILLICK_BASELINE").is_ok_and(|value| value == "1");
        Command::new(env!("CARGO_BIN_EXE_killick"))
            .current_dir(self.folder.path())
            .arg("eval")
            .args(args.split(' '))
            .args(["--model", "model", "--dtype", "f32"])
            .args(baseline.then_some("--baseline"))
            .output()
            .expect("the program runs")
    }

    fn text(&self, args: &str) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &str) -> Value {
        serde_json::from_str(&self.text(&format!("{args} --json"))).expect("one JSON document")
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_program_compares_policies_by_loss() {
    let program = Program::new();
    let args = "perplexity text.txt --policies full,anchor:sinks=2:window=4,window:window=9 --anchors . --max-length 40 \
                --budgets 8,16,1 --svg loss.svg";
    let document = program.json(args);
    let top = ["model", "text", "max_length", "stride", "kv_format", "entry_bytes", "results", "adapter"];
    assert_eq!(keys(&document), top);
    let rows = document["results"].as_array().unwrap();
    let names: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row["name"].as_str().unwrap(), row["budget"])).collect();
    let anchor = "anchor:sinks=2:window=4";
    let want =
        ["full null".to_owned(), format!("{anchor} null"), format!("{anchor} 8"), format!("{anchor} 16")];
    assert_eq!(names[..4], want);
    assert_eq!(names[4..], ["null", "8", "16", "1"].map(|budget| format!("window:window=9 {budget}")));
    assert!(rows.iter().all(|row| row["tokens"] == rows[0]["tokens"]), "the same text");
    assert_eq!(rows[5]["policy"]["window"], 9);
    assert_eq!(rows[2]["policy"]["max_anchors"], 8 - 2 - 3);
    let mean = rows[0]["mean_nll"].as_f64().unwrap();
    let opened = open();
    let ids = opened.ids(TEXT);
    let windows = ids.chunks(39).map(|window| [&opened.prefix(), window].concat());
    let by_hand: Vec<f32> = windows.flat_map(|ids| opened.masked(&opened.policies()[0], &ids).nll).collect();
    let by_hand = by_hand.iter().map(|nll| f64::from(*nll)).sum::<f64>() / by_hand.len() as f64;
    assert!((mean - by_hand).abs() < bound(TOKEN), "{mean} and {by_hand}");
    let svg = std::fs::read_to_string(program.folder.path().join("loss.svg")).unwrap();
    assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (3, 1 + 2 + 3), "{svg}");

    let table = program.text("perplexity text.txt --max-length 40 --stride 20 --limit 2");
    assert!(table.starts_with("policy  budget") && table.contains("\nfull "), "{table}");
    assert!(table.contains("in 2 windows of at most 40 (58 of"), "{table}");
    let inserted = "perplexity text.txt --policies full,anchor --anchor-ids 510 --insert between";
    let table = program.text(inserted);
    assert!(table.contains("anchors were put into the text under anchor"), "{table}");
}

#[test]
fn the_program_answers_items() {
    let program = Program::new();
    let args = "choices items.jsonl --shots 2 --seed 3 --time-uncached 1 --policies full,streaming:window=5 --delimiter";
    let document = program.json(&format!("{args} \\nAnswer:"));
    let top = ["model", "file", "shots", "seed", "prompt", "gold", "uncached", "results", "adapter"];
    assert_eq!(keys(&document), top);
    assert_eq!(document["prompt"], json!({"delimiter": "\nAnswer:", "separator": "\n\n"}));
    assert_eq!(document["gold"].as_array().unwrap().len(), 3, "two of the five are demonstrations");
    let rows = document["results"].as_array().unwrap();
    assert_eq!(rows[0]["logprobs"].as_array().unwrap().len(), 3);
    assert_ne!(rows[0]["logprobs"], rows[1]["logprobs"]);
    assert!(rows.iter().all(|row| row["speedup"].as_f64().is_some_and(|speedup| speedup > 0.0)), "{rows:?}");
    let table = program.text("choices items.jsonl --limit 2 --shots-from items.jsonl --shots 1");
    assert!(table.contains("acc_norm %") && table.contains("2 items, 1 demonstrations"), "{table}");
}

#[test]
fn the_program_asks_for_facts() {
    let program = Program::new();
    let args = "recall --distances 1,3 --trials 2 --facts numbers --lead 1 --policies full,window:window=9";
    let document = program.json(&format!("{args} --svg recall.svg"));
    assert_eq!(keys(&document), ["model", "options", "results", "adapter"]);
    let rows = document["results"].as_array().unwrap();
    assert_eq!(rows[1]["name"], "window:window=9");
    assert_eq!(rows[1]["distances"].as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["distances"][1]["distance"], 3);
    let again = program.json(args);
    assert_eq!(document["results"], again["results"], "the same seed, the same trials");
    let other = program.json(&format!("{args} --seed 1"));
    assert_ne!(document["results"], other["results"]);
    let svg = std::fs::read_to_string(program.folder.path().join("recall.svg")).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 3, "two policies, and guessing");
    let table = program.text("recall --distances 2 --trials 1 --filler text.txt --lead 1");
    assert!(table.contains("tokens back") && table.contains("guessing gives 20.0 %"), "{table}");
}

#[test]
fn what_cannot_be_measured_is_one_clear_line() {
    let program = Program::new();
    let write = |name: &str, text: &str| std::fs::write(program.folder.path().join(name), text).unwrap();
    write(
        "bad.jsonl",
        "{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 0}\n{\"query\": \"q\", \"choices\": [\"a\", \"b\"], \"gold\": 2}\n",
    );
    write("short.txt", ".");
    for (args, code, words) in [
        ("choices bad.jsonl", 1, vec!["bad.jsonl, line 2", "\"gold\"", "is 2"]),
        ("choices text.txt", 1, vec!["text.txt, line 1", "no JSON"]),
        ("choices none.jsonl", 1, vec!["none.jsonl"]),
        ("choices items.jsonl --shots 5", 1, vec!["0 items to answer"]),
        ("choices items.jsonl --limit 0", 2, vec!["from 1 on"]),
        ("perplexity short.txt", 1, vec!["1 tokens in the text", "at least 2"]),
        ("perplexity text.txt --stride 0", 1, vec!["stride is 0"]),
        ("perplexity text.txt --max-length 40 --ctx 20", 1, vec!["room for 20"]),
        ("perplexity text.txt --policies full,window --window 9", 2, vec!["--window"]),
        ("perplexity text.txt --policies window:colour=9", 2, vec!["colour=9", "max-anchors=N"]),
        ("perplexity text.txt --policies window:window=0", 1, vec!["window is 0"]),
        ("recall --distances 0", 1, vec!["--distances is 0"]),
        ("recall --filler short.txt", 1, vec!["0 sentences to fill in"]),
        ("recall --distractors 99", 1, vec!["distractors is 99", "1 to 23"]),
    ] {
        let output = program.run(args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args}: {message}");
        assert!(!message.contains("panicked"), "{args}: {message}");
        for word in words {
            assert!(message.contains(word), "{args} does not say {word:?}: {message}");
        }
        assert!(code == 2 || message.trim_end().lines().count() == 1, "{args}: {message}");
    }
}
