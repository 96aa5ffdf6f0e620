//! Reports of benchmarks, without a device: tables, files and pages from fixed figures, and what is said of a file that is none.

use std::process::Command;

use killick::bench::{
    BenchError, Report, Row, SCHEMA, Test, csv, json, jsonl, machines, markdown, markdown_of, page, remarks,
    rows, side_by_side,
};
use serde_json::{Value, json};

/// A row of a model, with the fields of `other` in place of its own.
fn test_row(other: Value) -> Value {
    let mut row = json!({
        "schema": SCHEMA, "build_commit": "abc1234", "build_version": "0.1.0", "platform": "linux x86_64",
        "test_time": "2026-11-29T12:00:00Z", "gpu_info": "Some GPU, with 8 \"cores\"", "backends": "vulkan",
        "device_type": "discrete", "driver": "somedriver 1.2", "family": "gpu", "features": ["subgroups", "timestamps"],
        "bandwidth": 2.0e11, "arithmetic": 4.0e12
    });
    let of_model = json!({
        "kind": "test", "model_filename": "tiny.gguf",
        "model_type": "llama 134.52 M f16", "model_size": 269_000_000, "model_n_params": 134_515_008, "type_k": "f32",
        "type_v": "f32", "policy": "anchor", "segment": 24, "batch": 1, "test": "tg128 @ d4096", "n_prompt": 0,
        "n_gen": 128, "n_depth": 4096, "avg_ns": 500_000_000, "stddev_ns": 5_000_000, "avg_ts": 256.0, "stddev_ts": 2.5,
        "samples_ns": [495_000_000, 505_000_000], "samples_ts": [258.5, 253.5], "live_entries": 194,
        "kv_bytes_live": 8_939_520, "kv_bytes": 98_000_000, "bytes_per_token": 278_000_000.0,
        "weight_bytes_per_token": 269_000_000.0, "kv_bytes_per_token": 8_000_000.0,
        "activation_bytes_per_token": 1_000_000.0, "flops_per_token": 270_000_000.0, "dispatches_per_token": 246.0,
        "submits_per_token": 0.0625, "cpu_s_per_token": 0.0005, "device_ns_per_token": 3_500_000.0, "ttft_ns": null,
        "load_ns": 1_250_000_000, "bandwidth_percent": 35.584, "arithmetic_percent": 1.728
    });
    merge(&mut row, of_model);
    merge(&mut row, other);
    row
}

fn kernel_row(other: Value) -> Value {
    let mut row = test_row(json!({}));
    let object = row.as_object_mut().unwrap();
    object.retain(|name, _| name == "schema" || !test_only(name));
    merge(
        &mut row,
        json!({
            "kind": "kernel", "op": "matvec", "implementation": "matvec", "layout": "f16_rows", "shape": "576x1536, 1 in",
            "of": "smollm2-135m", "check": "ok", "checked_percent": 100.0, "dispatches": 64, "avg_ns": 12_500.0,
            "stddev_ns": 100.0, "samples_ns": [12_400.0, 12_600.0], "device_ns": 11_000.0, "cpu_s": null,
            "bytes": 1_777_920, "flops": 1_769_472, "gb_per_s": 161.6, "gflop_per_s": 160.9,
            "bandwidth_percent": 80.8, "arithmetic_percent": 4.0
        }),
    );
    merge(&mut row, other);
    row
}

fn profile_row(other: Value) -> Value {
    let mut row = test_row(json!({}));
    row.as_object_mut().unwrap().retain(|name, _| name == "schema" || !test_only(name));
    merge(
        &mut row,
        json!({
            "kind": "profile", "model_type": "llama 134.52 M file", "policy": "anchor", "batch": 1, "test": "tg128",
            "implementation": "matmul_texels", "layout": "q4_texels", "dispatches_per_token": 90.0,
            "device_ns_per_token": 4_000_000.0, "percent": 80.0
        }),
    );
    merge(&mut row, other);
    row
}

/// Whether a field belongs to the rows of models alone.
fn test_only(name: &str) -> bool {
    let machine =
        ["schema", "build_commit", "build_version", "platform", "test_time", "gpu_info", "backends"];
    let device = ["device_type", "driver", "family", "features", "bandwidth", "arithmetic"];
    !machine.contains(&name) && !device.contains(&name)
}

fn merge(row: &mut Value, other: Value) {
    let (row, Value::Object(other)) = (row.as_object_mut().unwrap(), other) else { panic!("two objects") };
    row.extend(other);
}

fn read(values: &[Value]) -> Vec<Row> {
    rows("a.json", &Value::Array(values.to_vec()).to_string()).unwrap()
}

fn some_rows() -> Vec<Row> {
    read(&[
        test_row(json!({ "test": "pp512", "n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 5120.25,
            "stddev_ts": 51.125, "ttft_ns": 104_000_000, "policy": "full", "segment": 0 })),
        test_row(json!({})),
        test_row(
            json!({ "batch": 8, "cpu_s_per_token": null, "device_ns_per_token": null, "bandwidth": null,
            "bandwidth_percent": null, "samples_ns": [300_000_000, 700_000_000], "stddev_ns": 282_842_712 }),
        ),
        kernel_row(json!({})),
        kernel_row(
            json!({ "op": "argmax", "implementation": "argmax", "layout": "plain", "shape": "8x49152",
            "check": "word 3 is 0x00000001 and should be 0x00000002", "checked_percent": 12.5 }),
        ),
        profile_row(json!({})),
        profile_row(
            json!({ "implementation": "rope_texels", "layout": "f32", "device_ns_per_token": 1_000_000.0,
            "dispatches_per_token": 30.0, "percent": 20.0 }),
        ),
    ])
}

#[test]
fn a_test_has_the_name_that_llama_bench_gives_it() {
    let name = |n_prompt, n_gen, n_depth| Test { n_prompt, n_gen, n_depth, batch: 1 }.name();
    assert_eq!(name(512, 0, 0), "pp512");
    assert_eq!(name(0, 128, 0), "tg128");
    assert_eq!(name(512, 0, 4096), "pp512 @ d4096");
    assert_eq!(name(0, 128, 4096), "tg128 @ d4096");
    assert_eq!(name(512, 128, 0), "pp512+tg128");
    assert_eq!(Test { n_prompt: 5, n_gen: 3, n_depth: 9, batch: 4 }.tokens(), 32);
}

#[test]
fn tables_of_fixed_figures_stay_as_they_are() {
    insta::assert_snapshot!("bench_markdown", markdown(&some_rows()));
    insta::assert_snapshot!("bench_csv", csv(&some_rows()));
}

#[test]
fn what_is_written_is_read_again() {
    let rows_of = |text: &str| rows("a.json", text).unwrap();
    let all = some_rows();
    assert_eq!(rows_of(&json(&all)), all);
    assert_eq!(rows_of(&jsonl(&all)), all);
    assert_eq!(rows_of(&jsonl(&all[..1])), all[..1]);
    // A field that a newer program adds is no fault.
    let newer = test_row(json!({ "a_field_of_tomorrow": [1, 2] }));
    assert_eq!(read(&[newer]), read(&[test_row(json!({}))]));
}

#[test]
fn a_broken_report_is_refused_by_file_row_and_field() {
    let without = |field: &str| {
        let mut row = test_row(json!({}));
        row.as_object_mut().unwrap().remove(field);
        row
    };
    let array = |row: Value| json!([test_row(json!({})), row]).to_string();
    for (text, words) in [
        (String::new(), vec!["no JSON"]),
        ("[".to_owned(), vec!["no JSON"]),
        ("[]".to_owned(), vec!["no row"]),
        ("7".to_owned(), vec!["neither"]),
        (json!(["x"]).to_string(), vec!["row 1", "an object"]),
        (array(without("avg_ts")), vec!["row 2", "\"avg_ts\"", "missing", "a number"]),
        (array(without("schema")), vec!["row 2", "\"schema\"", "missing"]),
        (array(test_row(json!({ "schema": 9 }))), vec!["row 2", "\"schema\"", "9", "1"]),
        (array(test_row(json!({ "kind": "song" }))), vec!["row 2", "\"kind\"", "song", "kernel"]),
        (array(test_row(json!({ "n_gen": -1 }))), vec!["row 2", "\"n_gen\"", "-1", "4294967295"]),
        (array(test_row(json!({ "samples_ts": [1.0, "x"] }))), vec!["\"samples_ts\"", "a list of numbers"]),
        (array(test_row(json!({ "gpu_info": ["\u{1b}[2J"] }))), vec!["\"gpu_info\"", "a text"]),
        (array(kernel_row(json!({ "bytes": 1.5 }))), vec!["row 2", "\"bytes\"", "1.5"]),
        (format!("{}\n{{", test_row(json!({}))), vec!["line 2"]),
    ] {
        let error = rows("b.json", &text).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("b.json") && !message.contains('\u{1b}'), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{words:?} in {message}");
        assert!(matches!(error, BenchError::NotRows { .. } | BenchError::Field { .. }), "{message}");
    }
}

#[test]
fn what_a_reader_must_know_is_said() {
    let said = remarks(&some_rows());
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("8 texts") && said[0].contains("57 %"), "{said:?}");
    assert!(said[1].contains("argmax") && said[1].contains("word 3"), "{said:?}");
    // Of many that waver only the worst is named.
    let wavering = |n: u64| {
        test_row(
            json!({ "n_depth": n, "test": format!("tg128 @ d{n}"), "samples_ns": [1, 2], "stddev_ns": 50_000_000 + n }),
        )
    };
    let said = remarks(&read(&(1..6).map(wavering).chain([test_row(json!({}))]).collect::<Vec<_>>()));
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("5 of 6") && said[0].contains("tg128 @ d5"), "{said:?}");
}

/// Two machines, of which the second is twice as fast and has one test more and one fewer.
fn two_machines() -> [Report; 2] {
    let fast = json!({ "gpu_info": "Fast <b>GPU</b> | & co", "avg_ts": 512.0 });
    let other = json!({ "test": "tg64", "n_gen": 64, "n_depth": 0, "gpu_info": "Fast <b>GPU</b> | & co" });
    let first = [
        test_row(json!({})),
        test_row(json!({ "test": "pp512", "n_prompt": 512, "n_gen": 0 })),
        kernel_row(json!({})),
        profile_row(json!({})),
    ];
    let of_kernels =
        [kernel_row(json!({ "gb_per_s": 80.8 })), profile_row(json!({ "device_ns_per_token": 1_000_000.0 }))];
    let second = [&[test_row(fast), test_row(other)][..], &of_kernels].concat();
    let report = |name: &str, rows: &[Value]| Report { name: name.to_owned(), rows: read(rows) };
    [report("slow", &first), report("fast", &second)]
}

#[test]
fn machines_stand_side_by_side() {
    let reports = two_machines();
    let tables: Vec<String> =
        [vec![machines(&reports)], side_by_side(&reports)].concat().iter().map(markdown_of).collect();
    insta::assert_snapshot!("bench_compare", tables.join("\n"));
}

#[test]
fn a_page_is_whole_in_itself_and_nothing_in_it_is_taken_for_markup() {
    let mut reports = two_machines();
    let deeper = |depth: u32, speed: f64| {
        test_row(
            json!({ "n_depth": depth, "test": format!("tg128 @ d{depth}"), "avg_ts": speed, "policy": "<i>mine" }),
        )
    };
    reports[0].rows.extend(read(&[deeper(512, 300.0), deeper(1024, 280.0)]));
    reports[0].name = "<script>alert(1)</script>".to_owned();
    let html = page("A \"title\" & more", &reports);
    for (what, present) in [
        ("<script", false),
        ("<i>", false),
        ("<b>", false),
        ("src=", false),
        ("href=", false),
        ("url(", false),
        ("@import", false),
        ("Fast &lt;b&gt;GPU&lt;/b&gt; | &amp; co", true),
        ("&lt;script&gt;", true),
        ("A &quot;title&quot; &amp; more", true),
        ("color-scheme:light dark", true),
        ("width=device-width", true),
        ("default-src 'none'", true),
        ("<svg", true),
        ("tokens in the cache before", true),
        ("2.00x", true),
    ] {
        assert_eq!(html.contains(what), present, "{what}");
    }
    // The one address names a namespace.
    assert!(
        html.matches("http").count()
            == html.matches("xmlns=\"http").count() + html.matches("http-equiv").count()
    );
    for tag in ["table", "div", "figure", "svg", "ul", "h2", "td", "th", "tr"] {
        let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn every_field_is_documented() {
    let doc = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bench.md")).unwrap();
    for row in some_rows() {
        for name in row.values().keys() {
            assert!(doc.contains(&format!("`{name}`")), "docs/bench.md does not explain {name}");
        }
    }
}

#[test]
fn the_program_compares_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let [slow, fast] = two_machines();
    let (slow, fast) = (file("slow.json", &json(&slow.rows)), file("fast.jsonl", &jsonl(&fast.rows)));
    let broken = file("broken.json", &json!([{ "schema": SCHEMA }]).to_string());
    let page = folder.path().join("page.html").display().to_string();
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_killick"))
            .arg("bench")
            .args(args)
            .output()
            .expect("the program runs")
    };
    let output = run(&["--compare", &slow, &fast, "--report", &page]);
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert!(text.contains("2.00x") && text.contains("slow t/s") && text.contains("of slow"), "{text}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("Side by side"));
    for (args, words) in [
        (vec!["--compare", &slow, &broken], vec!["broken.json", "row 1", "\"kind\"", "missing"]),
        (vec!["--compare", "/no/such/file.json"], vec!["/no/such/file.json"]),
        (vec!["--compare", &slow, "-o", "csv"], vec!["--output must be md"]),
        (vec!["--shape", "gpt-5"], vec!["gpt-5", "tinyllama-1.1b"]),
        (vec!["-p", "0", "-n", "0"], vec!["nothing to time"]),
        (vec!["-b", "0"], vec!["batch is 0"]),
    ] {
        let output = run(&args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: {said}");
    }
    for args in
        [vec!["-pg", "512"], vec!["-pg", "0,4"], vec!["-o", "sql"], vec!["--kernels", "--depth-sweep"]]
    {
        assert_eq!(run(&args).status.code(), Some(2), "{args:?}");
    }
}
