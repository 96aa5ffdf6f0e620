//! The program on a GPU, with a tiny model and ids.

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::bounds::bound;
use support::golden::{data, numbers};
use support::gpu::gpu;

/// Rows of docs/numerics.md.
const TOKEN: &str = "nats of a token of a tiny model";
const PRINTED: &str = "a figure made anew from printed ones";

fn killick(args: &[&str]) -> std::process::Output {
    // Skips these tests where the program would find no device.
    gpu();
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    if std::env::var("KILLICK_BASELINE").is_ok_and(|value| value == "1") && args[0] == "score" {
        command.args(["score", "--baseline"]).args(&args[1..]);
    } else {
        command.args(args);
    }
    command.output().expect("the program runs")
}

fn score(flags: &[&str]) -> Value {
    let model = data("tiny/gqa").display().to_string();
    let mut args = vec!["score", "--json", "--dtype", "f32", "--model", &model];
    args.extend(flags);
    let output = killick(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn score_prints_the_document_and_the_paths_agree() {
    let flags =
        ["--policy", "anchor", "--anchor-ids", "7", "--ids", "5,6,7,8,9,7,11,12,13,7,14,15", "--path"];
    let masked = score(&[&flags[..], &["masked"]].concat());
    let keys: Vec<&str> = masked.as_object().unwrap().keys().map(String::as_str).collect();
    let all = ["model", "policy", "path", "ids", "nll", "mean_nll", "perplexity", "top1", "kv", "kernels"];
    assert_eq!(keys, all);
    let kv: Vec<&str> = masked["kv"].as_object().unwrap().keys().map(String::as_str).collect();
    let counts = ["seen", "live", "peak_live", "format", "bytes_live", "bytes_allocated"];
    assert_eq!(kv, [&counts[..], &["anchors", "forced_anchors", "dropped_anchors", "segments"]].concat());
    assert_eq!(masked["nll"].as_array().unwrap().len(), 11);
    assert_eq!(masked["top1"].as_array().unwrap().len(), 12);
    let mean = numbers(&masked["nll"]).iter().sum::<f64>() / 11.0;
    assert!(
        (masked["mean_nll"].as_f64().unwrap() - mean).abs() < bound(PRINTED),
        "the mean of {:?}",
        masked["nll"]
    );
    assert!((masked["perplexity"].as_f64().unwrap() / mean.exp() - 1.0).abs() < bound(PRINTED));
    let kernels: Vec<&str> = masked["kernels"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(kernels.contains(&"masked_attention") && !kernels.contains(&"attention"), "{kernels:?}");
    assert_eq!([&masked["kv"]["seen"], &masked["kv"]["live"], &masked["kv"]["anchors"]], [12, 5, 3]);
    for path in ["ring", "chunk:5"] {
        let other = score(&[&flags[..], &[path]].concat());
        assert_eq!(other["path"], path);
        assert_eq!(other["top1"], masked["top1"], "{path}");
        for (a, b) in numbers(&other["nll"]).iter().zip(numbers(&masked["nll"])) {
            assert!((a - b).abs() < bound(TOKEN), "{path}: {a} and {b}");
        }
    }
}

#[test]
fn score_takes_adapters() {
    let golden = support::golden::json("adapter/golden.json");
    let case = &golden["cases"][2];
    let ids: Vec<String> = support::golden::ids(&case["ids"]).iter().map(ToString::to_string).collect();
    let folder = |name: &str| data(&format!("adapter/{name}")).display().to_string();
    let (wide, narrow) = (format!("{}=0.75", folder("wide")), format!("{}=-1.5", folder("narrow")));
    let (wide, narrow, ids) =
        (["--adapter", &wide], ["--adapter", &narrow], ["--policy", "full", "--ids", &ids.join(",")]);
    let mean = |flags: &[&str]| score(flags)["mean_nll"].as_f64().unwrap();
    let want = case["mean_nll"].as_f64().unwrap();
    let got = mean(&[ids.as_slice(), &wide, &narrow].concat());
    assert!((got - want).abs() < bound(TOKEN), "{got}, PEFT {want}");
    assert!(
        (mean(&[ids.as_slice(), &wide].concat()) - want).abs() > 100.0 * bound(TOKEN),
        "the second adapter counts"
    );
}

#[test]
fn what_the_model_cannot_take_is_an_error() {
    let model = data("tiny/gqa").display().to_string();
    for (flags, word) in [
        (vec!["--ids", "1,321"], "321"),
        (vec!["--ids", "1,2,3", "--policy", "full", "--ctx", "2"], "room for 2"),
        (vec!["--ids", "1", "--gpu", "no such gpu"], "no such gpu"),
        (vec!["--ids", "1", "--max-binding", "100"], "binding limit"),
    ] {
        let mut args = vec!["score", "--model", &model];
        args.extend(flags);
        let output = killick(&args);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.contains(word) && !message.contains("panicked"), "{args:?}: {message}");
    }
}

#[test]
fn devices_lists_what_there_is() {
    let output = killick(&["devices", "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &list.as_array().unwrap()[0];
    for key in
        ["index", "name", "backend", "device_type", "driver", "features", "max_binding_bytes", "usable"]
    {
        assert!(first.get(key).is_some(), "{key} is missing");
    }
    for family in ["gpu", "software"] {
        let output = killick(&["devices", "--json", "--family", family]);
        let list: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(list[0]["family"], family);
        let kernels = list[0]["kernels"].as_array().unwrap();
        let texels = kernels.iter().any(|kernel| kernel.as_str().unwrap().ends_with("_texels"));
        assert_eq!(texels, family == "software", "{kernels:?}");
    }
    assert!(killick(&["devices"]).status.success(), "for people");
}

/// Where the device has 16-bit floats they can be asked for, forbidden, and seen; where it has none, that is said.
#[test]
fn products_in_16_bits_are_asked_for_and_shown() {
    let first = |args: &[&str]| -> Value {
        let output = killick(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().remove(0)
    };
    let features = first(&["devices", "--json"])["features"].clone();
    let is_there = features.as_array().unwrap().contains(&"shader-f16".into());
    let model = data("tiny/gqa").display().to_string();
    let kernels = ["devices", "--kernels", "--json", "--tune", "off", "--family", "gpu", "--model", &model];
    let runs = |flags: &[&str]| -> Vec<String> {
        let output = killick(&[&kernels, flags].concat());
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        lines.iter().map(|line| line["implementation"].as_str().unwrap().to_owned()).collect()
    };
    let f16 = "matmul_tiled_f16".to_owned();
    assert!(!runs(&[]).contains(&f16) && !runs(&["--f16", "off"]).contains(&f16), "not unasked");
    let refused = |flags: &[&str]| {
        let output = killick(&[&kernels, flags].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {message}");
        assert!(message.contains("shader-f16"), "{flags:?}: {message}");
    };
    refused(&["--f16", "on", "--baseline"]);
    if is_there {
        assert!(runs(&["--f16", "on"]).contains(&f16));
    } else {
        refused(&["--f16", "on"]);
    }
}

/// A real GPU is measured by itself; here the flag asks for it.
#[test]
fn what_was_measured_of_the_kernels_is_kept_for_the_next_start() {
    let cache = tempfile::tempdir().unwrap();
    let model = data("tiny/gqa").display().to_string();
    gpu();
    let kernels = |tune: &str| -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
        command.args([
            "devices",
            "--kernels",
            "--json",
            "--family",
            "gpu",
            "--model",
            &model,
            "--tune",
            tune,
        ]);
        command.env("XDG_CACHE_HOME", cache.path());
        // Mesa's compiled shaders stay where they are, or each start would compile all of them.
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        command.envs(
            std::env::var_os("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or(home)
                .map(|of| ("MESA_SHADER_CACHE_DIR", of)),
        );
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    };
    let is_measured = |one: &Value| one["measured"]["trials"].is_array();
    let folder = cache.path().join("killick/tuning");
    assert!(!kernels("off").iter().any(is_measured) && !folder.exists());
    // Each start measures for two seconds, so a slow device takes several.
    let all = |tune| (0..20).map(|_| kernels(tune)).find(|lines| lines.iter().all(is_measured));
    let first = all("on").expect("all are measured in the end");
    assert_eq!(kernels("on"), first, "the figures are those that were kept");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    // Figures of other kernels, as of an older version.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    kept["kernels"] = 1.into();
    for other in [kept.to_string(), "{".to_owned()] {
        std::fs::write(&file, &other).unwrap();
        assert_ne!(kernels("on"), first, "{other}: measured anew");
    }
}
