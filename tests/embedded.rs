//! The model that the library brings, where no GPU is in sight: its files, and the program without `--model`.
//!
//! What it computes is in `gpu_embedded.rs`.

mod support {
    pub mod golden;
}

use std::path::PathBuf;
use std::process::{Command, Output};

use killick::kv::{Insert, Place, PolicySpec, Preset};
use killick::model_file::{EMBEDDED, FileSet, ModelFile};
use pollster::block_on;
use serde_json::Value;
use support::golden::data;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models").join(EMBEDDED)
}

/// Runs the program in an empty folder of its own.
fn killick(args: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_killick"))
        .args(args)
        .current_dir(&elsewhere)
        .env("VK_DRIVER_FILES", "/dev/null")
        .env("VK_ICD_FILENAMES", "/dev/null")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("the program runs")
}

#[test]
fn the_embedded_files_are_those_of_the_folder() {
    let files = FileSet::embedded();
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name != "README.md");
    names.sort();
    assert_eq!(files.names().collect::<Vec<_>>(), names);
    for name in names {
        let source = files.get(&name).unwrap();
        let embedded = block_on(source.read_at(0, usize::try_from(source.len()).unwrap())).unwrap();
        assert!(
            embedded == std::fs::read(folder().join(&name)).unwrap(),
            "{name} is another one: build again"
        );
        assert!(block_on(source.read_at(1, embedded.len())).is_err(), "nothing lies behind {name}");
        assert!(block_on(source.read_at(u64::MAX, 1)).is_err());
    }
}

#[test]
fn the_embedded_model_is_small_and_brings_its_policy() {
    let file = block_on(ModelFile::open(FileSet::embedded())).unwrap();
    assert_eq!(file.label(), EMBEDDED);
    let bytes: u64 = file.tensors().iter().map(|tensor| tensor.bytes).sum();
    assert!((6_000_000..8_000_000).contains(&bytes), "{bytes} bytes of weights");
    let spec: PolicySpec = serde_json::from_value(file.policy().unwrap().clone()).unwrap();
    let tokenizer = killick::Tokenizer::from_source(file.tokenizer(), file.label()).unwrap();
    let [anchor] = tokenizer.ids_of_bytes(b"<AC>")[..] else { panic!("<AC> is no token") };
    assert_eq!((spec.preset, spec.anchors), (Preset::Anchor, Some(vec![anchor])));
    assert_eq!(spec.insert, Some(Insert { id: anchor, place: Place::Between }));
    assert_eq!(tokenizer.vocab_size(), file.config.vocab_size);
    // Nothing is read from a disk, and it says so where it is described.
    let output = killick(&["inspect", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!([&report["model"], &report["policy"]["name"]], [EMBEDDED, "anchor"]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(killick(&["inspect"]).stdout.starts_with(format!("{EMBEDDED} (safetensors)\n").as_bytes()));
}

#[test]
fn what_the_embedded_model_cannot_do_is_said_with_what_can() {
    let adapter = data("adapter/wide").display().to_string();
    for (args, words) in [
        (vec!["chat"], vec![EMBEDDED, "no chat template", "--model", "generate", "https://"]),
        (
            vec!["generate", "Hello", "--chat"],
            vec![EMBEDDED, "no chat template", "--model", "without --chat"],
        ),
        (vec!["inspect", "--adapter", &adapter], vec!["wide", "lora_A", "shape"]),
    ] {
        let output = killick(&args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{args:?}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{args:?}: {message}");
    }
}

#[test]
fn the_embedded_model_can_be_written_out() {
    let made = tempfile::tempdir().unwrap();
    let made = made.path().join("made");
    let output = killick(&["convert", "--embedded", made.to_str().unwrap(), "--to", "f16"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (written, own) =
        (ModelFile::open_path(&made).unwrap(), block_on(ModelFile::open(FileSet::embedded())).unwrap());
    assert_eq!(written.config, own.config);
    assert_eq!(written.policy(), own.policy());
    // One of the two, never both and never none.
    for args in [&["convert", "--embedded", "in", "out"][..], &["convert", "out"], &["convert", "--embedded"]]
    {
        assert_eq!(killick(args).status.code(), Some(2), "{args:?}");
    }
}
