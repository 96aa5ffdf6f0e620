//! The model that the library brings: what it computes against PyTorch, what it is worth, and the program that runs it.
//!
//! All figures are in tests/data/embedded, which `tools/golden/embedded.py` makes anew for other weights. The weights are stored in
//! 16 bits, so a device holds the same numbers as PyTorch whether it keeps them in 16 or in 32.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use killick::eval::{HeldOut, perplexity};
use killick::kernels::WeightFormat;
use killick::kv::{Policy, PolicySpec, Preset};
use killick::model::{MemoryPlan, Model};
use killick::model_file::EMBEDDED;
use killick::score::{Path, score};
use killick::session::{Session, SessionOptions};
use killick::{Engine, GenerateOptions, LoadOptions, SamplerOptions, Tokenizer};
use pollster::block_on;
use serde_json::Value;
use support::bounds::bound;
use support::golden::{difference, ids, json, list, numbers, spec};
use support::gpu::{gpu, leave_idle, options, share};

/// The one device of this test program.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        // Skips this program where there is no device.
        gpu();
        Engine::new(&options()).expect("a GPU to test on")
    });
    leave_idle(engine.gpu());
    engine
}

struct Opened {
    model: Arc<Model>,
    tokenizer: Tokenizer,
    spec: PolicySpec,
}

fn open() -> Opened {
    let loaded = engine().load_embedded(LoadOptions::default()).unwrap();
    let tokenizer = loaded.tokenizer().unwrap();
    let spec = loaded.recorded_policy().unwrap().expect("a policy recorded with the model");
    Opened { model: loaded.model, tokenizer, spec }
}

impl Opened {
    fn policy(&self) -> Policy {
        self.resolve(&self.spec)
    }

    fn resolve(&self, spec: &PolicySpec) -> Policy {
        spec.resolve(self.model.config()).unwrap()
    }
}

/// The likeliest tokens must be PyTorch's wherever its lead over the second is more than two logits can be off.
fn check_likeliest(what: &str, got: &[u32], want: &[u32], margins: &[f64]) {
    let close = 2.0 * bound(TOKEN);
    let clear = |i: &usize| margins[*i] > close;
    assert!((0..want.len()).filter(clear).count() * 10 > want.len() * 9, "{what}: hardly a clear choice");
    for i in (0..want.len()).filter(clear) {
        assert_eq!(got[i], want[i], "{what}: likeliest token {i}, which leads by {}", margins[i]);
    }
}

const TOKEN: &str = "nats of a token of the embedded model, with PyTorch in 32-bit";
const LOSS: &str = "loss of the embedded model by the code of its training, share of it";

#[test]
fn greedy_text_is_that_of_pytorch_token_by_token() {
    let opened = open();
    let (policy, golden) = (opened.policy(), json("embedded/prompts.json"));
    let paths = [Path::Ring, Path::Masked, Path::Chunk(7)];
    let mut worst = 0.0_f64;
    for case in list(&golden["prompts"]) {
        let (prompt, text) = (ids(&case["prompt_ids"]), case["prompt"].as_str().unwrap());
        assert_eq!(opened.tokenizer.encode_for(text, true, &policy).unwrap(), prompt, "{text}");
        let chosen = ids(&case["ids"]);
        let whole = [&prompt[..], &chosen].concat();
        for path in &paths[..share(paths.len(), 1)] {
            let what = format!("{text} on {path}");
            let got = block_on(score(&opened.model, &policy, &whole, *path)).unwrap();
            let nll = &got.nll[prompt.len() - 1..];
            let want: Vec<f64> = numbers(&case["logprobs"]).iter().map(|logprob| -logprob).collect();
            let off = difference(nll, &want);
            assert!(off.token <= bound(TOKEN), "{what}: token {} is off by {:e} nats", off.at, off.token);
            worst = worst.max(off.token);
            check_likeliest(&what, &got.top1[prompt.len() - 1..], &chosen, &numbers(&case["margin"]));
        }
    }
    println!("worst token {worst:.1e} nats");
}

#[test]
fn the_ring_computes_what_pytorch_computes_under_the_mask() {
    let opened = open();
    let golden = json("embedded/windows.json");
    let windows: Vec<Vec<u32>> = list(&golden["windows"]).iter().map(ids).collect();
    let want = |name: &str, window: usize| &golden["cases"][name]["windows"][window];
    for (window, text) in windows.iter().take(share(windows.len(), 1)).enumerate() {
        // Step by step is slow, and so is a second opinion on every window.
        let text = &text[..share(text.len(), text.len().min(256))];
        let nll = |name: &str| numbers(&want(name, window)["nll"])[..text.len() - 1].to_vec();
        let cases = [("anchor", Path::Ring), ("hidden", Path::Chunk(128)), ("full", Path::Chunk(128))];
        let others = [("anchor", Path::Chunk(128))];
        for (name, path) in if window == 0 { &cases[..] } else { &others } {
            let what = format!("{name}, window {window}, {path}");
            let policy = opened.resolve(&spec(&golden["cases"][*name]));
            let got = block_on(score(&opened.model, &policy, text, *path)).unwrap();
            let off = difference(&got.nll, &nll(name));
            println!("{what}: worst token {:.1e} nats", off.token);
            assert!(off.token <= bound(TOKEN), "{what}: token {} is off by {:e} nats", off.at, off.token);
            let want = want(name, window);
            check_likeliest(&what, &got.top1, &ids(&want["top1"])[..text.len()], &numbers(&want["margin"]));
            // Another rule is another function, by far: what is computed is no other case.
            for other in ["anchor", "hidden", "full"].into_iter().filter(|other| other != name) {
                let off = difference(&got.nll, &nll(other));
                assert!(off.token > 100.0 * bound(TOKEN), "{what} is only {:e} nats off {other}", off.token);
            }
        }
    }
}

/// The anchors are put in by `HeldOut` here, and came with the ids there.
#[test]
fn perplexity_is_that_of_the_code_that_trained_the_model() {
    let opened = open();
    let golden = json("embedded/windows.json");
    let text = golden["text"].as_str().unwrap();
    let text = HeldOut::new(&opened.tokenizer, text, opened.spec.insert.map(|insert| insert.place)).unwrap();
    let size = usize::try_from(golden["window"].as_u64().unwrap()).unwrap();
    let wanted = list(&golden["windows"]);
    let windows = text.windows(size, size, wanted.len()).unwrap();
    let policy = opened.policy();
    for (window, want) in windows.iter().zip(wanted) {
        assert_eq!(text.reading(&policy, window).ids, ids(want), "the same windows");
    }
    let hidden = PolicySpec { max_anchors: Some(0), ..opened.spec.clone() };
    // Everything is in the window: what `full` sees, with anchors put in.
    let full = PolicySpec { window: Some(size as u32), isolated: Some(false), ..opened.spec.clone() };
    let all = share(windows.len(), 1);
    let mut losses = Vec::new();
    for (name, spec, read) in [("anchor", &opened.spec, all), ("hidden", &hidden, 1), ("full", &full, 1)] {
        let policy = opened.resolve(spec);
        let mut quiet = |_, _| {};
        let report = perplexity(
            &opened.model,
            &policy,
            SessionOptions::default(),
            &text,
            &windows[..read],
            &mut quiet,
        );
        let got = block_on(report).unwrap();
        let wanted = &numbers(&golden["training"][name])[..read];
        assert_eq!(got.window_nll.len(), read);
        for (got, want) in got.window_nll.iter().zip(wanted) {
            println!("{name}: {got:.6} nats, by the training's code {want:.6}, {:.1e} off", got / want - 1.0);
            assert!((got / want - 1.0).abs() <= bound(LOSS), "{name}: {got}, the training's code {want}");
        }
        let counts = &numbers(&golden["training"]["tokens"])[..read];
        assert_eq!(got.tokens as f64, counts.iter().sum::<f64>(), "tokens counted");
        let sum: f64 = wanted.iter().zip(counts).map(|(nll, count)| nll * count).sum();
        assert!(
            (got.mean_nll * got.tokens as f64 / sum - 1.0).abs() <= bound(LOSS),
            "{name}: {got:?}, {sum}"
        );
        losses.push(got.window_nll[0]);
    }
    let (own, without) = (losses[0], losses[1]);
    assert!(
        without / own > 1.0 + 10.0 * bound(LOSS),
        "it relies on its anchors: {own} with, {without} without"
    );
}

/// Distinct runs of three among those of 1,000 tokens, the mean over pieces; as `distinct` in tools/train/evaluate.py.
fn distinct_3(ids: &[u32]) -> f64 {
    let pieces: Vec<&[u32]> = ids.chunks_exact(1000).collect();
    let share = |piece: &&[u32]| piece.windows(3).collect::<BTreeSet<_>>().len() as f64 / 998.0;
    pieces.iter().map(share).sum::<f64>() / pieces.len() as f64
}

#[test]
fn ten_thousand_sampled_tokens_stay_varied_in_memory_that_does_not_grow() {
    let opened = open();
    let (policy, tokens) = (opened.policy(), share(10_000, 1_500));
    let golden = json("embedded/prompts.json");
    let prompt = ids(&golden["prompts"][0]["prompt_ids"]);
    let options = SessionOptions::default();
    let plan = MemoryPlan::new(
        opened.model.config(),
        WeightFormat::F16,
        &policy,
        options.shape(),
        engine().gpu().capabilities(),
    )
    .unwrap();
    let mut session = block_on(Session::new(&opened.model, &policy, options)).unwrap();
    let planned = session.allocated_bytes();
    block_on(session.append(&prompt)).unwrap();
    let options = GenerateOptions {
        max_tokens: u32::try_from(tokens).unwrap(),
        ignore_eos: true,
        sampler: SamplerOptions { temperature: 0.8, top_p: 0.95, seed: 1, ..SamplerOptions::default() },
        ..GenerateOptions::default()
    };
    let drawn: Vec<u32> = session.generate(options).unwrap().map(|token| token.unwrap().id).collect();
    assert_eq!(drawn.len(), tokens);

    let kv = session.kv();
    let cache = plan.lines.iter().find(|line| line.what == "kv cache").unwrap();
    assert_eq!((kv.bytes_allocated, session.allocated_bytes()), (cache.bytes, planned), "as planned");
    let most = policy.sinks + policy.max_anchors + policy.max_segment.max(policy.window);
    assert!(kv.peak_live <= most, "{} live entries, planned are {most}", kv.peak_live);
    assert!(kv.segments > 0 && kv.live < kv.seen / 2, "nothing was forgotten: {kv:?}");

    let shown: Vec<u32> =
        drawn.into_iter().filter(|id| !opened.tokenizer.special_ids().contains(id)).collect();
    let (got, heldout) =
        (distinct_3(&shown), json("embedded/windows.json")["training"]["distinct_3"].as_f64().unwrap());
    println!("{} live at most of {}, distinct-3 {got:.3}, held-out text {heldout:.3}", kv.peak_live, kv.seen);
    let least = bound("distinct-3 of sampled text, share of held-out text's");
    assert!(got >= least * heldout, "distinct-3 is {got}, that of held-out text {heldout}");
}

/// Lines of the program on standard error, where drivers speak as well.
fn own_words(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| line.starts_with("killick")).map(str::to_owned).collect()
}

/// The program in an empty folder.
fn killick(args: &[&str]) -> Output {
    // Skips these tests where the program would find no device.
    gpu();
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_killick"));
    command.args(args).current_dir(&elsewhere);
    if std::env::var("KILLICK_BASELINE").is_ok_and(|value| value == "1") {
        command.arg("--baseline");
    }
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_program_speaks_without_a_model_from_any_folder() {
    // The prompt after which PyTorch's choice is clear for longest.
    let golden = json("embedded/prompts.json");
    let clear = |case: &&Value| {
        numbers(&case["margin"]).iter().take_while(|margin| **margin > 2.0 * bound(TOKEN)).count()
    };
    let case = list(&golden["prompts"]).iter().max_by_key(clear).unwrap();
    let (sure, prompt) = (clear(&case), case["prompt"].as_str().unwrap());
    assert!(sure >= 8, "no prompt has eight clear tokens");
    let flags = ["--max-tokens", "16", "--ignore-eos"];
    let output = killick(&[&["generate", prompt, "--json"], &flags[..]].concat());
    assert_eq!(own_words(&output), [""; 0]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["model"], EMBEDDED);
    assert_eq!(ids(&document["prompt_ids"]), ids(&case["prompt_ids"]));
    let (got, want) = (ids(&document["ids"]), ids(&case["ids"]));
    assert_eq!(got[..sure.min(16)], want[..sure.min(16)]);

    // A person reads the text, and beside it whose it is.
    let output = killick(&[&["generate", prompt], &flags[..]].concat());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim_end(),
        document["text"].as_str().unwrap().trim_end()
    );
    let notes = own_words(&output);
    assert!(matches!(&notes[..], [note] if note.contains(EMBEDDED) && note.contains("--model")), "{notes:?}");

    let score: Value =
        serde_json::from_slice(&killick(&["score", "--json", "--text", prompt]).stdout).unwrap();
    assert_eq!([&score["model"], &score["policy"]["name"]], [EMBEDDED, Preset::Anchor.name()]);
    let recall = ["eval", "recall", "--json", "--trials", "1", "--distances", "1"];
    let recall: Value = serde_json::from_slice(&killick(&recall).stdout).unwrap();
    assert_eq!([&recall["model"], &recall["results"][0]["name"]], [EMBEDDED, Preset::Anchor.name()]);
}
