//! The program where no GPU is in sight: exit codes, one clear line for each mistake, and the memory plan.

mod support {
    pub mod golden;
}
#[path = "inspect/families.rs"]
mod families;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::golden::{data, json};

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
    let latin1 = folder.path().join("latin1.txt");
    std::fs::write(&latin1, b"caf\xe9").unwrap();
    let latin1 = latin1.display().to_string();
    let untied = data("adapter/untied").display().to_string();
    let (config, golden) = (format!("{tiny}/config.json"), format!("{tiny}/golden.json"));
    for (args, words) in [
        (vec!["devices", "--gpu", "0"], vec!["--gpu", "--kernels"]),
        (vec!["devices", "--tune", "off"], vec!["--tune", "--kernels"]),
        (vec!["devices", "--f16", "off"], vec!["--f16", "--kernels"]),
        (vec!["score", "--ids", "1", "--model", "no/such/path"], vec!["no/such/path", "no such file"]),
        (vec!["score", "--ids", "1", "--model", &empty], vec!["killick:"]),
        (vec!["inspect", "--model", &truncated], vec!["cut.gguf"]),
        (vec!["score", "--text", "hello", "--model", &tiny], vec!["gqa", "no tokenizer"]),
        (vec!["generate", "hello", "--model", &tiny], vec!["gqa", "no tokenizer"]),
        (vec!["score", "--file", "no-such.txt", "--model", &tiny], vec!["no-such.txt"]),
        (vec!["score", "--file", "/dev/zero", "--model", &tiny], vec!["/dev/zero", "longer than"]),
        (vec!["score", "--file", &latin1, "--model", &tiny], vec!["latin1.txt", "not UTF-8 at byte 3"]),
        // Exit code 1, not 3: these are known before a device is asked for.
        (vec!["score", "--ids", "1,321", "--model", &tiny], vec!["321", "vocabulary of 321"]),
        (
            vec!["score", "--ids", "1,2,3", "--policy", "full", "--ctx", "2", "--model", &tiny],
            vec!["room for 2"],
        ),
        (vec!["score", "--ids", "1", "--model", "a\u{1b}[2Jb"], vec![r"a\u{1b}[2Jb", "no such file"]),
        (vec!["inspect", "--policy", "anchor", "--model", &tiny], vec!["--anchor-ids"]),
        (
            vec!["inspect", "--policy", "anchor", "--anchors", ".", "--model", &tiny],
            vec!["no tokenizer", "--anchor-ids"],
        ),
        (
            vec!["inspect", "--anchor-ids", "7", "--anchor-not-after-digit", "--model", &tiny],
            vec!["no tokenizer", "anchor_not_after_digit"],
        ),
        (
            vec!["inspect", "--anchor-ids", "7", "--at-max-segment", "insert", "--model", &tiny],
            vec!["at_max_segment is insert", "no anchor"],
        ),
        (vec!["inspect", "--policy", "sepllm", "--anchor-ids", "321", "--model", &tiny], vec!["321"]),
        (vec!["inspect", "--policy", "window", "--window", "0", "--model", &tiny], vec!["--window is 0"]),
        (vec!["inspect", "--policy", "window", "--ctx", "9", "--model", &tiny], vec!["ctx is 9"]),
        (
            vec!["inspect", "--policy", "streaming", "--sinks", "4294967295", "--model", &tiny],
            vec!["sinks is 4294967295"],
        ),
        (
            vec!["inspect", "--policy", "window", "--max-distance", "0", "--model", &tiny],
            vec!["--max-distance is 0"],
        ),
        (
            vec!["inspect", "--policy", "window", "--max-segment", "0", "--model", &tiny],
            vec!["--max-segment is 0"],
        ),
        (
            vec!["inspect", "--policy", "window", "--window", "4194304", "--model", &tiny],
            vec!["cache of one layer", "134217728"],
        ),
        (vec!["inspect", "--pin", "system", "--model", &tiny], vec!["--pin system", "--chat"]),
        (vec!["inspect", "--model", &tiny, "--adapter", "no/such"], vec!["adapter no/such", "No such file"]),
        (vec!["inspect", "--model", &tiny, "--adapter", &untied], vec!["untied", "lora_A", "shape"]),
        (vec!["score", "--ids", "1", "--pin", "system", "--model", &tiny], vec!["--pin system", "--chat"]),
        (vec!["generate", "x", "--temperature", "nan", "--model", &tiny], vec!["temperature is NaN"]),
        (vec!["generate", "x", "--temperature=-1", "--model", &tiny], vec!["temperature is -1"]),
        (vec!["generate", "x", "--top-p", "0", "--model", &tiny], vec!["--top-p is 0", "above 0"]),
        (vec!["generate", "x", "--ban", "400", "--model", &tiny], vec!["--ban is 400", "below 321"]),
        (vec!["generate", "x", "--stop", "", "--model", &tiny], vec!["stop"]),
        (
            vec![
                "inspect",
                "--policy",
                "anchor",
                "--anchor-ids",
                "3,5",
                "--insert",
                "between",
                "--model",
                &tiny,
            ],
            vec!["insert", "exactly one", "2", "--anchor-ids"],
        ),
        (vec!["inspect", "--insert", "after", "--model", &tiny], vec!["insert", "0", "--anchor-ids"]),
        (vec!["chat", "--model", &tiny], vec!["gqa", "no tokenizer"]),
        (vec!["chat", "--min-p", "2", "--model", &tiny], vec!["--min-p is 2"]),
        (vec!["inspect", "--model", &config], vec!["config.json", "name the folder"]),
        (vec!["inspect", "--model", &golden], vec!["golden.json", "no weights"]),
        (vec!["inspect", "--model", "/dev/zero"], vec!["zero", "no regular file"]),
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

/// It is known before a device is asked for, and so before anything is consumed.
#[test]
fn a_segment_too_long_is_refused_if_the_policy_says_so() {
    let tiny = tiny();
    let flags =
        "score --ids 1,2,3,4 --policy anchor --anchor-ids 7 --max-segment 3 --at-max-segment error --model";
    let (code, message) = fails(&flags.split(' ').chain([tiny.as_str()]).collect::<Vec<_>>());
    assert_eq!(code, 1, "{message}");
    assert!(message.contains("position 2") && message.contains("(3)"), "{message}");
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
        vec!["score", "--model", &tiny, "--ids", ""],
        vec!["score", "--model", &tiny, "--ids", "1,,2"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "CHUNK:7"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "chunk:4294967296"],
        vec!["inspect", "--model", ""],
        vec!["inspect", "--model", &tiny, "--model", &tiny],
        vec!["inspect", "--model", &tiny, "--policy", ""],
        vec!["inspect", "--model", &tiny, "--anchor-ids", ""],
        vec!["inspect", "--model", &tiny, "--window", "4294967296"],
        vec!["inspect", "--model", &tiny, "unexpected"],
        vec!["generate", "two", "prompts", "--model", &tiny],
        vec!["score", "--model", &tiny, "--ids", "99999999999"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "sideways"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "chunk:0"],
        vec!["score", "--model", &tiny, "--ids", "1", "--path", "chunk:"],
        vec!["inspect", "--model", &tiny, "--policy", "everything"],
        vec!["inspect", "--model", &tiny, "--window", "-3"],
        vec!["inspect", "--model", &tiny, "--isolated", "perhaps"],
        vec!["inspect", "--model", &tiny, "--dtype", "f64"],
        vec!["inspect", "--model", &tiny, "--adapter", "folder=nan"],
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

/// `inspect --json` on the tiny model with more flags.
fn inspected(flags: &[&str]) -> Value {
    let tiny = tiny();
    let output = killick(&[&["inspect", "--json", "--model", &tiny], flags].concat());
    assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Bytes of weights, cache and working memory, from config.json, the slots and the bytes of a weight alone.
fn planned(config: &Value, slots: [u64; 3], weight_bytes: u64) -> [u64; 3] {
    let [pinned, anchors, live] = slots;
    let number = |key: &str| config[key].as_u64().unwrap_or_else(|| panic!("config.json has no {key}"));
    let (hidden, ffn, vocab) = (number("hidden_size"), number("intermediate_size"), number("vocab_size"));
    let (layers, head_dim) = (number("num_hidden_layers"), number("head_dim"));
    let (q, kv) = (number("num_attention_heads") * head_dim, number("num_key_value_heads") * head_dim);

    // A row of a matrix begins at a multiple of 16 bytes.
    let matrix = |rows: u64, cols: u64| rows * (cols * weight_bytes).next_multiple_of(16);
    let layer =
        matrix(q + 2 * kv, hidden) + matrix(hidden, q) + matrix(2 * ffn, hidden) + matrix(hidden, ffn);
    let norms = (2 * layers + 1) * hidden * 4;
    // Pairs (cos, sin) for 1,024 fine steps and 4,096 coarse ones.
    let rotations = (1024 + 4096) * (head_dim / 2) * 8;
    let weights = matrix(vocab, hidden) + layers * layer + norms + rotations;

    // A chunk of 128 rows. Words of a row: residual and normalized, q k v, q rotated twice, k and v, attended, gate and
    // up; a token, its target, chunk anchors, nll, top; the 15 of its extents.
    let chunk = 128;
    let words = 2 * hidden + (q + 2 * kv) + 2 * q + 2 * kv + q + 2 * ffn + 5 + 15;
    // A buffer is a multiple of 16 bytes and never empty; tags belong to the masked path, shares of keys to the kernels for GPUs.
    let buffer = |bytes: u64| bytes.next_multiple_of(16).max(16);
    let (tags, shares) = (buffer(0), buffer(0));
    let logits = buffer(32 * vocab * 4);
    // The anchor ids are two bit sets: those, and the ids that bar one.
    let ring = buffer(12 * 4) + buffer(anchors * 4) + buffer(2 * vocab.div_ceil(32) * 4);
    let readback = buffer((vocab * 4).max(chunk * 8));
    // The decode loop, 32 steps of which may be under way: its state, tokens out and their 42 words of log-probabilities, all
    // three again for each of two submits to read, the 1,024 tokens that penalties see and 32 more, ids that end a text and those
    // that no penalty touches, scores and bias, and the 16 words of the sampler's settings.
    let (state, outbox, logprobs) = (16, 32 * 4, 32 * 42 * 4);
    let decode = state + outbox + logprobs + 2 * buffer(state + outbox + logprobs) + (1024 + 32) * 4;
    let decode = decode + 2 * buffer(vocab.div_ceil(32) * 4) + 2 * buffer(vocab * 4) + 16 * 4;
    // What outlives a pass: the token that the next step consumes, and the last hidden state.
    let text = buffer(4) + buffer(hidden * 4);
    [
        weights,
        (pinned + anchors + live) * kv * 4 * 2 * layers,
        chunk * words * 4 + tags + shares + logits + ring + readback + decode + text,
    ]
}

/// Slots are S, A + X and max(W, M if there are segments) + X, with X = 32.
#[test]
fn inspect_plans_by_the_formula() {
    let config = json("tiny/gqa/config.json");
    let anchored =
        "--policy anchor --anchor-ids 30,7 --sinks 4 --max-anchors 20 --max-segment 40 --dtype f32";
    for (flags, slots, weight_bytes) in [
        (anchored, [4, 20 + 32, 40 + 32], 4),
        ("", [0, 0, 256 + 32], 2),
        ("--ctx 100", [0, 0, 100 + 32], 2),
        ("--policy anchor --anchor-ids 7 --window 60 --max-segment 40", [0, 256 + 32, 60 + 32], 2),
        ("--policy anchor --anchor-ids 7 --max-anchors 0", [0, 0, 256 + 32], 2),
        ("--policy sepllm --anchor-ids 7", [3, 256 + 32, 256 + 32], 2),
        ("--policy streaming --dtype f32", [4, 0, 252 + 32], 4),
        ("--policy window --window 9", [0, 0, 9 + 32], 2),
    ] {
        let report = inspected(&flags.split_whitespace().collect::<Vec<_>>());
        let plan = &report["plan"];
        assert_eq!(plan["slots"], json!(slots), "{flags}");
        assert_eq!(plan["entry_bytes"], 3 * 2 * 2 * 16 * 4, "{flags}");
        let want = planned(&config, slots, weight_bytes);
        let lines = plan["lines"].as_array().expect("lines");
        let got: Vec<u64> = lines.iter().map(|line| line["bytes"].as_u64().expect("bytes")).collect();
        assert_eq!(got, want, "{flags}: weights, kv cache, working memory");
        assert_eq!(plan["total_bytes"], want.iter().sum::<u64>(), "{flags}");
    }
}

#[test]
fn inspect_prints_the_policy_in_full() {
    let report =
        inspected(&["--policy", "anchor", "--anchor-ids", "30,7", "--sinks", "4", "--max-anchors", "20"]);
    let policy = json!({
        "name": "anchor", "seg_rule": true, "window": 1, "sinks": 4, "anchors": [7, 30], "isolated": true,
        "max_anchors": 20, "max_segment": 256, "at_max_segment": "close", "max_distance": 256,
    });
    assert_eq!(report["policy"], policy);
    let full = json!({
        "name": "full", "seg_rule": false, "window": 256, "sinks": 0, "anchors": [], "isolated": false,
        "max_anchors": 256, "max_segment": 256, "at_max_segment": "close", "max_distance": 256, "ctx": 256,
    });
    assert_eq!(inspected(&[])["policy"], full, "the default of a stock model");
    let separators = inspected(&["--anchor-ids", "7"]);
    assert_eq!(separators["policy"]["name"], "sepllm", "a bound on a stock model asks for a bounded policy");
}

#[test]
fn inspect_describes_the_model() {
    let report = inspected(&[]);
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["model", "format", "config", "tokenizer", "chat_template", "adapters", "policy", "plan", "tensors"]
    );
    assert_eq!([&report["model"], &report["format"]], ["gqa", "safetensors"]);
    assert_eq!([&report["tokenizer"], &report["chat_template"]], [&Value::Null, &json!(false)]);
    let config = json("tiny/gqa/config.json");
    for (ours, theirs) in [
        ("hidden_size", "hidden_size"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "num_attention_heads"),
        ("n_kv_heads", "num_key_value_heads"),
        ("head_dim", "head_dim"),
        ("ffn_size", "intermediate_size"),
        ("vocab_size", "vocab_size"),
        ("context_len", "max_position_embeddings"),
        ("rope_theta", "rope_theta"),
        ("tied_embeddings", "tie_word_embeddings"),
        ("bos_token", "bos_token_id"),
    ] {
        assert_eq!(report["config"][ours], config[theirs], "{ours}");
    }
    assert_eq!(report["tensors"].as_array().unwrap().len(), 29, "embedding, norm, nine a layer");
    let embedding = json!({"name": "model.embed_tokens.weight", "dtype": "F32", "shape": [321, 64], "bytes": 321 * 64 * 4});
    assert_eq!(report["tensors"][0], embedding);
    let output = killick(&["inspect", "--model", &data("tiny/gqa.f32.gguf").display().to_string()]);
    let text = "\
gqa.f32.gguf (gguf v3)
  llama: 3 layers, hidden 64, feed-forward 172, 4 heads (2 for keys and values) of 16, vocabulary 321, context 256, tied embeddings
  no tokenizer
  29 tensors of F32, 0.6 MiB
policy full
  window 256, sinks 0, 0 anchor ids, segments off, at most 256 anchors, 256 tokens a segment, distance 256
memory on the device
  weights                0.6 MiB   (matrices: 22 in f16)
  kv cache               0.2 MiB
  working memory         0.5 MiB
  in all                 1.3 MiB   (0 pinned, 0 anchor and 288 live slots of 768 bytes in f32)
";
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
}

#[test]
fn inspect_lists_adapters_and_takes_the_policy_that_one_of_them_brings() {
    let (wide, narrow) =
        (data("adapter/wide").display().to_string(), data("adapter/narrow").display().to_string());
    let report = inspected(&["--adapter", &wide, "--adapter", &format!("{narrow}=-0.5")]);
    let adapters = json!([{"name": "wide", "scale": 1.0, "weights": 21}, {"name": "narrow", "scale": -0.5, "weights": 6}]);
    assert_eq!(report["adapters"], adapters);
    assert_eq!(
        [&report["policy"]["name"], &report["policy"]["anchors"]],
        [&json!("anchor"), &json!([7, 30, 101])]
    );
    let flags = inspected(&["--adapter", &wide, "--policy", "window"]);
    assert_eq!(flags["policy"]["name"], "window", "flags win");
    assert_eq!(inspected(&["--adapter", &narrow])["policy"]["name"], "full", "none is recorded");
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
fn convert_writes_what_its_flags_say_and_says_what_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (tiny, gguf, back, renamed) = (tiny(), path("a.gguf"), path("back"), path("q8"));
    let run = |args: &[&str]| {
        let output = killick(&[&["convert"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&[&tiny, &gguf]).ends_with("a.gguf: 29 tensors, 0.3 MiB\n"));
    run(&[&gguf, &back, "--to", "f32", "--policy", "anchor", "--anchor-ids", "7,30", "--sinks", "2"]);
    let said = run(&[&back, &renamed, "--to", "q8_0", "--format", "gguf"]);
    assert!(said.contains("3 of them in f16"), "{said}");
    run(&[&tiny, &path("short"), "--to", "bf16"]);
    let config = std::fs::read_to_string(folder.path().join("short/config.json")).unwrap();
    assert!(config.contains("\"torch_dtype\": \"bfloat16\""), "{config}");
    let inspected = |model: &str| -> Value {
        serde_json::from_slice(&killick(&["inspect", "--json", "--model", model]).stdout).unwrap()
    };
    let (first, second) = (inspected(&back), inspected(&renamed));
    assert_eq!([&first["format"], &second["format"]], ["safetensors", "gguf v3"]);
    for report in [&first, &second] {
        let policy = &report["policy"];
        assert_eq!(
            [&policy["name"], &policy["sinks"], &policy["anchors"]],
            [&json!("anchor"), &json!(2), &json!([7, 30])]
        );
    }
    assert_eq!(second["tensors"][0]["dtype"], "Q8_0");
    for (args, words) in [
        (vec![tiny.as_str(), &gguf], vec!["a.gguf", "--force"]),
        (vec![&tiny, "model.safetensors"], vec!["folder"]),
        (vec![&tiny, "no-such", "--to", "q4_0"], vec!["gguf"]),
        (vec![&tiny, "no-such", "--anchor-ids", "999"], vec!["999"]),
        (vec!["no-such", "nowhere"], vec!["no-such", "no such file"]),
    ] {
        let (code, message) = fails(&[&["convert"], &args[..]].concat());
        assert_eq!(code, 1, "{args:?}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{args:?}: {message}");
    }
    run(&[&tiny, &gguf, "--force"]);
}

#[test]
fn every_flag_is_documented() {
    let doc = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md")).unwrap();
    let mut flags = 0;
    for command in [
        "generate",
        "chat",
        "score",
        "inspect",
        "convert",
        "devices",
        "eval perplexity",
        "eval choices",
        "eval recall",
        "bench",
    ] {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = String::from_utf8(killick(&words).stdout).unwrap();
        let long = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
            .map(|word| word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).trim_matches('`'));
        for flag in long.filter(|flag| !matches!(*flag, "--help" | "--version" | "")) {
            assert!(doc.contains(flag), "docs/cli.md does not explain {flag} of {command}");
            flags += 1;
        }
    }
    assert!(flags > 100, "only {flags} flags were found");
}

#[test]
fn inspect_says_what_becomes_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks.gguf").display().to_string();
    assert!(killick(&["convert", &tiny(), &path, "--to", "q8_0"]).status.success());
    let adapter = data("adapter/wide").display().to_string();
    let kept = |flags: &[&str]| {
        let output = killick(&[&["inspect", "--model", &path], flags].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find(|line| line.contains("matrices: "))
            .unwrap()
            .split_once("matrices: ")
            .unwrap()
            .1
            .to_owned()
    };
    // Three layers of seven matrices, of which `down` has no whole blocks; and the tied table.
    assert_eq!(kept(&[]), "3 in f16, 19 in q8)");
    assert_eq!(kept(&["--dtype", "f32"]), "22 in f32)");
    assert_ne!(kept(&["--adapter", &adapter]), kept(&[]), "what an adapter changes is kept in floats");
}
