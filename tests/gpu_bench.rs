//! Benchmarks on a device: the program's rows, made-up models, counts by token, and kernels that are wrong.

mod support {
    pub mod bounds;
    pub mod gpu;
    pub mod skip;
}

use std::process::Command;

use killick::bench::{Expected, ProfileRow, Row, TestRow, agree, kernel_cases, rows};
use killick::gpu::Family;
use pollster::block_on;
use support::gpu::gpu;
use support::skip::skipped;

/// A Llama as small as one can be, with a vocabulary of its own.
const TINY: &str = r#"{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 300, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}"#;

/// The rows that `killick bench` prints as JSON.
fn bench(args: &[&str]) -> Vec<Row> {
    // Skips these tests where the program would find no device.
    gpu();
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    command.args(["bench", "-o", "json"]).args(args);
    if std::env::var("KILLICK_BASELINE").is_ok_and(|value| value == "1") {
        command.arg("--baseline");
    }
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    rows("standard output", &String::from_utf8_lossy(&output.stdout)).unwrap()
}

fn tests(rows: &[Row]) -> Vec<&TestRow> {
    rows.iter().filter_map(Row::as_test).collect()
}

#[test]
fn the_embedded_model_is_measured_end_to_end() {
    let rows = bench(&["-p", "12", "-n", "6", "-pg", "8,4", "-d", "0,20", "-r", "2"]);
    let rows = tests(&rows);
    let names: Vec<&str> = rows.iter().map(|row| row.test.as_str()).collect();
    assert_eq!(names, ["pp12", "tg6", "pp8+tg4", "pp12 @ d20", "tg6 @ d20", "pp8+tg4 @ d20"]);
    for row in &rows {
        assert_eq!((row.model_filename.as_str(), row.model_n_params), ("killick-4m", 3_836_672));
        assert_eq!((row.policy.as_str(), row.batch, row.samples_ns.len()), ("anchor", 1, 2));
        assert!(row.avg_ts > 0.0 && row.kv_bytes >= row.kv_bytes_live && row.live_entries > 0, "{row:?}");
        assert!(row.cpu_s_per_token.is_some_and(|seconds| seconds > 0.0), "{row:?}");
        assert_eq!(row.ttft_ns.is_some(), row.n_prompt > 0, "{row:?}");
        assert!(row.machine.bandwidth.is_some_and(|rate| rate > 0.0), "{row:?}");
        assert!(row.bandwidth_percent.is_some_and(|percent| percent > 0.0), "{row:?}");
        let sum = row.weight_bytes_per_token + row.kv_bytes_per_token + row.activation_bytes_per_token;
        assert!((row.bytes_per_token - sum).abs() < 1.0, "{row:?}");
        let timed = row.machine.features.iter().any(|name| name == "timestamps");
        assert_eq!(row.device_ns_per_token.is_some(), timed, "{row:?}");
    }
    // A decoded token is six dispatches a layer and five more, and it reads every weight once.
    let [_, decoded, .., deep, _] = rows[..] else { panic!("six rows") };
    assert_eq!(decoded.dispatches_per_token, 35.0);
    assert_eq!(deep.dispatches_per_token, 35.0);
    assert!(decoded.submits_per_token <= 1.0);
    assert!(decoded.weight_bytes_per_token >= decoded.model_size as f64, "{decoded:?}");
    assert!(deep.kv_bytes_per_token > decoded.kv_bytes_per_token);
    assert!(deep.flops_per_token > decoded.flops_per_token);
    // Of a chunk, and so of each of its tokens, a share.
    assert!(rows[0].weight_bytes_per_token * 11.0 < decoded.weight_bytes_per_token);
}

#[test]
fn a_token_is_taken_apart_kernel_by_kernel() {
    if !gpu().has_timestamps() {
        return skipped("the profile of a token", "this device has no timestamps");
    }
    let rows = bench(&["-p", "20", "-n", "6", "-r", "1", "--profile"]);
    for test in tests(&rows) {
        let shares: Vec<_> =
            rows.iter().filter_map(Row::as_profile).filter(|share| share.test == test.test).collect();
        let sum = |of: fn(&ProfileRow) -> f64| shares.iter().map(|share| of(share)).sum::<f64>();
        assert_eq!(sum(|share| share.percent).round(), 100.0, "{shares:?}");
        assert!(shares.windows(2).all(|two| two[0].device_ns_per_token >= two[1].device_ns_per_token));
        assert!(shares.iter().any(|share| share.layout.starts_with("f16")), "{shares:?}");
        // Nothing is left out, and nothing is counted twice.
        let tokens = f64::from(test.n_prompt + test.n_gen);
        let dispatches = sum(|share| share.dispatches_per_token) * tokens;
        assert_eq!(dispatches.round(), (test.dispatches_per_token * tokens).round(), "{shares:?}");
    }
    // Without being asked nothing is taken apart.
    assert!(bench(&["-p", "0", "-n", "2", "-r", "1"]).iter().all(Row::is_test));
}

#[test]
fn several_texts_read_the_weights_once() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, TINY).unwrap();
    let config = config.display().to_string();
    let rows = bench(&[
        "--shape",
        &config,
        "-p",
        "0",
        "-n",
        "4",
        "-b",
        "1,3",
        "-r",
        "1",
        "--policies",
        "full,anchor",
    ]);
    let rows = tests(&rows);
    assert_eq!(rows.iter().map(|row| row.batch).collect::<Vec<_>>(), [1, 3, 1, 3]);
    for pair in rows.chunks(2) {
        let [one, three] = pair else { panic!("pairs") };
        assert!(3.0 * three.weight_bytes_per_token < 1.1 * one.weight_bytes_per_token, "{one:?}\n{three:?}");
        assert!((three.kv_bytes_per_token - one.kv_bytes_per_token).abs() < 1.0);
        assert_eq!(three.kv_bytes_live, 3 * one.kv_bytes_live);
        // As it was made it is whole rows of textures on some devices.
        assert!(three.kv_bytes > one.kv_bytes);
        assert!(three.dispatches_per_token < one.dispatches_per_token);
    }
}

#[test]
fn a_made_up_model_runs_beyond_its_context_under_every_policy() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, TINY).unwrap();
    let (config, page) =
        (config.display().to_string(), folder.path().join("page.html").display().to_string());
    let rows = bench(&[
        "--shape",
        &config,
        "--depth-sweep",
        "-n",
        "2",
        "-d",
        "0,80",
        "-r",
        "1",
        "--segment",
        "8",
        "--dtype",
        "f32",
        "--report",
        &page,
    ]);
    let rows = tests(&rows);
    let policies = [
        "full",
        "full",
        "anchor",
        "anchor",
        "sepllm",
        "sepllm",
        "streaming",
        "streaming",
        "window",
        "window",
    ];
    assert_eq!(rows.iter().map(|row| row.policy.as_str()).collect::<Vec<_>>(), policies);
    let deep = |policy: &str| rows.iter().find(|row| row.policy == policy && row.n_depth == 80).unwrap();
    // 80 tokens, one drawn before and two after that are consumed; ten anchors, and what is open.
    assert_eq!(deep("full").live_entries, 82);
    assert!((10..16).contains(&deep("anchor").live_entries), "{:?}", deep("anchor"));
    assert_eq!((deep("full").segment, deep("anchor").segment), (0, 8));
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("<svg").count(), 2, "speed and memory against depth");
}

/// A planted fault in each output of each kernel: the check that says `ok` must see it.
#[test]
fn the_check_of_a_kernel_rejects_a_fault() {
    let mut seen = std::collections::BTreeSet::new();
    for case in kernel_cases(gpu(), None, &["odd".to_owned()]).unwrap() {
        // One shape of each implementation; the others differ in size.
        if !seen.insert((case.op(), case.name().split(' ').nth(1).map(str::to_owned))) {
            continue;
        }
        for (got, expected) in block_on(case.outputs(gpu())).unwrap() {
            assert_eq!(agree(case.judged_as(), &got, &expected), Ok(()), "{}", case.name());
            let at = match &expected {
                Expected::Words(words) => words.len() / 2,
                Expected::Numbers(numbers) => numbers[numbers.len() / 2].0,
            };
            let mut wrong = got.clone();
            wrong[at] = match &expected {
                Expected::Words(_) => got[at] ^ 1,
                Expected::Numbers(_) => (f32::from_bits(got[at]) + 3.0).to_bits(),
            };
            assert!(agree(case.judged_as(), &wrong, &expected).is_err(), "{}: a planted fault", case.name());
            assert!(
                agree(case.judged_as(), &got[..at], &expected).is_err(),
                "{}: an end missing",
                case.name()
            );
        }
    }
    let ops: std::collections::BTreeSet<_> = seen.iter().map(|(op, _)| *op).collect();
    for op in
        ["matvec", "matmul", "gated_mlp", "attention", "rms_norm", "rope", "argmax", "embed", "nll", "sample"]
    {
        assert!(ops.contains(op), "{op} is not measured");
    }
}

#[test]
fn the_square_product_is_measured_when_it_is_asked_for() {
    let named = |filter: &[String]| kernel_cases(gpu(), None, filter).unwrap();
    let square = named(&["square".to_owned()]);
    assert!(!square.is_empty());
    for case in &square {
        assert_eq!((case.op(), case.shape().as_str()), ("matmul", "512x512, 512 in"));
    }
    let unasked = named(&[]).iter().any(|case| case.name().contains("square"));
    assert_eq!(unasked, !gpu().is_software());
}

/// Mesa 22.3.6 compiles a loop of 32 rounds anew at every dispatch: a tile of four inputs then took 400 times as long.
#[test]
fn a_tile_of_several_inputs_is_compiled_once() {
    if gpu().capabilities().family != Family::Software {
        return skipped("tiles of several inputs", "they are for software devices");
    }
    let time = |sizes: &str| {
        let rows = bench(&[
            "--kernels",
            "--shape",
            "smollm2-135m",
            "--filter",
            "q4_texels",
            "--filter",
            sizes,
            "-r",
            "2",
        ]);
        rows.iter().find_map(Row::as_kernel).unwrap_or_else(|| panic!("no kernel for {sizes}")).avg_ns
    };
    let (one, four) = (time("960x576, 1 in"), time("960x576, 4 in"));
    assert!(four < 40.0 * one, "{four} ns for four inputs, {one} for one");
}

#[test]
fn kernels_are_measured_and_found_right() {
    let one_row = bench(&["--kernels", "--filter", "odd", "--filter", "1x264", "-r", "2"]);
    // What comes after the logits, and the way into the cache.
    let drawing = bench(&["--kernels", "--filter", "odd", "--filter", "1x32003", "-r", "2"]);
    let written = bench(&["--kernels", "--filter", "odd", "--filter", "kv_write", "-r", "2"]);
    for op in ["rms_norm", "adjust", "argmax", "penalize", "sample", "soft_cap", "top_logprobs", "kv_write"] {
        let mut kernels = one_row.iter().chain(&drawing).chain(&written).filter_map(Row::as_kernel);
        assert!(kernels.any(|row| row.op == op), "{op}");
    }
    for row in one_row.iter().chain(&drawing).chain(&written).filter_map(Row::as_kernel) {
        assert_eq!((row.check.as_str(), row.samples_ns.len()), ("ok", 2), "{row:?}");
        assert!(row.avg_ns > 0.0 && row.gb_per_s > 0.0 && row.bytes > 0, "{row:?}");
    }
}
