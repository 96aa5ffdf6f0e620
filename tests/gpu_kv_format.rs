//! Keys and values as 16-bit floats and as bytes, end to end: rounded once, read the same by everyone, less memory, and never garbage.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::kernels::WeightFormat;
use killick::kv::{Policy, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::score::{Path, score_with};
use killick::session::{Pool, Session, SessionOptions};
use killick::{GenerateOptions, KvFormat, Steps};
use pollster::block_on;
use support::bounds::bound;
use support::golden::{data, ids, json, list, nmse};
use support::gpu::{gpu, leave_idle, share};

const VOCAB: u32 = 321;
/// The formats that round.
const ROUNDED: [KvFormat; 2] = [KvFormat::F16, KvFormat::Q8_0];

fn options(kv: KvFormat) -> SessionOptions {
    SessionOptions { chunk: 16, in_flight: 32, kv }
}

/// What `docs/numerics.md` calls entries of a format.
fn entries(kv: KvFormat) -> &'static str {
    match kv {
        KvFormat::F32 => "32-bit entries",
        KvFormat::F16 => "16-bit entries",
        KvFormat::Q8_0 => "8-bit entries",
    }
}

fn load(file: &ModelFile) -> Arc<Model> {
    leave_idle(gpu());
    Arc::new(block_on(Model::load(gpu(), file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

fn tiny() -> Arc<Model> {
    load(&ModelFile::open_path(&data("tiny/gqa")).unwrap())
}

/// Policies of which all bounds act within a few dozen tokens.
fn policies() -> [Policy; 3] {
    let anchors = Some((0..VOCAB).step_by(7).collect::<Vec<u32>>());
    let small =
        PolicySpec { anchors, max_anchors: Some(5), max_segment: Some(9), ..PolicySpec::new(Preset::Anchor) };
    let sinks = PolicySpec { window: Some(11), ..PolicySpec::new(Preset::Streaming) };
    [PolicySpec::new(Preset::Full), small, sinks].map(|spec| spec.resolve(256).unwrap())
}

fn session(model: &Arc<Model>, policy: &Policy, options: SessionOptions) -> Session {
    block_on(Session::new(model, policy, options)).unwrap()
}

fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * 29 + i * i + 5) % VOCAB).collect()
}

fn generated(session: &mut Session, steps: Steps, max_tokens: u32) -> Vec<u32> {
    let options = GenerateOptions { max_tokens, ignore_eos: true, steps, ..GenerateOptions::default() };
    session.generate(options).unwrap().map(|token| token.unwrap().id).collect()
}

fn mean(nll: &[f32]) -> f64 {
    nll.iter().map(|nll| f64::from(*nll)).sum::<f64>() / nll.len() as f64
}

#[test]
fn the_decode_loop_gives_the_tokens_of_single_steps() {
    let model = tiny();
    for (policy, kv) in policies().into_iter().flat_map(|policy| ROUNDED.map(|kv| (policy.clone(), kv))) {
        let mut all = [Steps::OnHost, Steps::Fixed(1), Steps::Fixed(16), Steps::Auto].map(|steps| {
            let mut session = session(&model, &policy, options(kv));
            block_on(session.append(&text(37))).unwrap();
            generated(&mut session, steps, 40)
        });
        all.rotate_left(1);
        assert!(all.iter().all(|ids| *ids == all[0]), "{}, {}: {all:?}", policy.preset, kv.name());
    }
}

/// A number that falls next to the border of two of the format may be rounded to either, where another order of sums moves it.
#[test]
fn chunks_and_steps_leave_the_same_text() {
    let model = tiny();
    for kv in ROUNDED {
        let mut worst = 0.0_f64;
        for policy in policies() {
            let text = text(share(160, 80) as u32);
            let [steps, chunks, odd] = [Path::Ring, Path::Chunk(16), Path::Chunk(7)]
                .map(|path| block_on(score_with(&model, &policy, kv, &text, path)).unwrap().nll);
            for (step, chunk) in steps.iter().zip(&chunks).chain(steps.iter().zip(&odd)) {
                worst = worst.max(f64::from((step - chunk).abs()));
            }
            // The formats differ by more, so that both paths kept the same rounded numbers.
            let floats = block_on(score_with(&model, &policy, KvFormat::F32, &text, Path::Ring)).unwrap().nll;
            let moved = steps.iter().zip(&floats).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            let (name, of) = (kv.name(), entries(kv));
            println!(
                "{}: {name} moves a token by up to {moved:.1e} nats, a chunk by {worst:.1e}",
                policy.preset
            );
            assert!(moved > 0.0, "nothing was rounded");
            assert!(moved <= bound(&format!("nats of a token of a tiny model by {of}")), "{name}: {moved:e}");
        }
        let most = bound(&format!("nats of a token of a tiny model with {} between paths", entries(kv)));
        assert!(worst <= most, "{}: {worst:e}", kv.name());
    }
}

#[test]
fn a_fork_and_a_pool_copy_entries_bit_by_bit() {
    let model = tiny();
    for (policy, kv) in policies().into_iter().flat_map(|policy| ROUNDED.map(|kv| (policy.clone(), kv))) {
        let mut first = session(&model, &policy, options(kv));
        block_on(first.append(&text(50))).unwrap();
        let mut fork = block_on(first.fork()).unwrap();
        let pool = block_on(Pool::new(&model, &policy, options(kv), 3)).unwrap();
        let [mut low, mut high] = [(); 2].map(|()| block_on(pool.session()).unwrap());
        low.copy_from(&first).unwrap();
        high.copy_from(&low).unwrap();
        for id in text(9) {
            let want = block_on(first.step_logits(id)).unwrap();
            for (what, other) in [("fork", &mut fork), ("pool", &mut low), ("within a pool", &mut high)] {
                let got = block_on(other.step_logits(id)).unwrap();
                assert_eq!(got, want, "{what}, {}, {}", policy.preset, kv.name());
            }
        }
        // A text in another format is another kind of text.
        for other in KvFormat::ALL.into_iter().filter(|other| *other != kv) {
            let mut other = session(&model, &policy, options(other));
            assert!(other.copy_from(&first).is_err());
        }
    }
}

#[test]
fn entries_take_less_memory_and_scratch_of_another_format_is_not_shared() {
    let model = tiny();
    let policy = &policies()[1];
    let all = KvFormat::ALL.map(|kv| session(&model, policy, options(kv)));
    assert_eq!(all.each_ref().map(|session| session.kv().format), KvFormat::ALL);
    // In textures whole rows are counted, so a little more. A scale of 4 bytes is much beside 16 columns.
    let floats = all[0].kv().bytes_allocated as f64;
    for (session, expected) in all.iter().zip([1.0..1.01, 0.5..0.75, 0.312..0.5]) {
        let share = session.kv().bytes_allocated as f64 / floats;
        assert!(expected.contains(&share), "{}: {share}", session.kv().format.name());
    }
    for mut session in all {
        block_on(session.append(&text(40))).unwrap();
        let kv = session.kv();
        let keys_and_values = u64::from(kv.live) * 3 * 2;
        assert_eq!(kv.bytes_live, kv.format.bytes(2, 16) * keys_and_values);
        assert!(block_on(session.next_logits()).unwrap().iter().all(|logit| logit.is_finite()));
    }
}

/// The tiny model with one matrix of its first layer many times as large.
fn grown(matrix: &str, times: f32) -> Arc<Model> {
    let folder = data("tiny/gqa");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let mut weights = read("model.safetensors");
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&weights[8..8 + header]).unwrap();
    let tensor = &tensors[format!("model.layers.0.self_attn.{matrix}.weight")];
    assert_eq!(tensor["dtype"], "F32");
    let place = |i: usize| 8 + header + tensor["data_offsets"][i].as_u64().unwrap() as usize;
    for bytes in weights[place(0)..place(1)].chunks_exact_mut(4) {
        let value = f32::from_le_bytes(bytes.try_into().unwrap());
        bytes.copy_from_slice(&(value * times).to_le_bytes());
    }
    let files = [("config.json", read("config.json")), ("model.safetensors", weights)];
    let files: BTreeMap<String, Vec<u8>> = files.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    load(&block_on(ModelFile::open(FileSet::from_bytes(files))).unwrap())
}

/// Whatever reads a text under `policy` with such entries ends with an error.
fn is_refused(model: &Arc<Model>, policy: &Policy, kv: KvFormat) {
    for path in [Path::Ring, Path::Chunk(16)] {
        let error = block_on(score_with(model, policy, kv, &text(20), path)).unwrap_err();
        // Bytes under a scale reach as far as 32-bit floats, so these would not help.
        let error = error.to_string();
        assert!(error.contains("not finite; the weights are broken"), "{}, {path}: {error}", kv.name());
        assert_eq!(error.contains("need f32"), kv == KvFormat::F16, "{}, {path}: {error}", kv.name());
    }
    for steps in [Steps::OnHost, Steps::Fixed(4)] {
        let mut session = session(model, policy, options(kv));
        let options = GenerateOptions { steps, max_tokens: 4, ..GenerateOptions::default() };
        let error = match block_on(session.append(&text(5))) {
            Err(error) => error.to_string(),
            Ok(()) => session.generate(options).unwrap().find_map(Result::err).unwrap().to_string(),
        };
        assert!(error.contains("not finite"), "{}, {steps:?}: {error}", kv.name());
    }
}

/// Beyond 65,504 there is no 16-bit float: the text ends with an error, whoever reads the entry. A scale reaches as far as 32 bits do.
#[test]
fn an_entry_too_large_for_16_bits_is_an_error_and_no_garbage() {
    for matrix in ["k_proj", "v_proj"] {
        let model = grown(matrix, 1e6);
        for policy in policies() {
            for (kv, path) in
                [(KvFormat::F32, Path::Ring), (KvFormat::Q8_0, Path::Ring), (KvFormat::Q8_0, Path::Chunk(16))]
            {
                let nll = block_on(score_with(&model, &policy, kv, &text(20), path)).unwrap().nll;
                assert!(nll.iter().all(|nll| nll.is_finite()), "{} holds it", kv.name());
            }
            is_refused(&model, &policy, KvFormat::F16);
        }
    }
}

/// The bytes of a head that holds what is no number say nothing; its scale does.
#[test]
fn an_entry_that_is_no_number_is_an_error_and_no_garbage() {
    for matrix in ["k_proj", "v_proj"] {
        let model = grown(matrix, f32::MAX);
        for (policy, kv) in policies().into_iter().flat_map(|policy| ROUNDED.map(|kv| (policy.clone(), kv))) {
            is_refused(&model, &policy, kv);
        }
    }
}

#[test]
fn the_masked_path_says_that_it_has_no_other_format() {
    let (model, policy) = (tiny(), &policies()[0]);
    for kv in ROUNDED {
        let error = block_on(score_with(&model, policy, kv, &text(9), Path::Masked)).unwrap_err();
        assert!(error.to_string().contains("masked") && error.to_string().contains(kv.name()), "{error}");
    }
}

/// The embedded model on held-out text: what rounding costs in loss.
#[test]
fn rounded_entries_cost_next_to_no_loss() {
    let golden = json("embedded/windows.json");
    let file = block_on(ModelFile::open(FileSet::embedded())).unwrap();
    let model = load(&file);
    let recorded: PolicySpec = serde_json::from_value(file.policy().unwrap().clone()).unwrap();
    // 4,000 tokens where a step is thorough.
    let tokens: usize = share(4000, 300);
    for spec in [recorded, PolicySpec::new(Preset::Full)] {
        let policy = spec.resolve(model.config()).unwrap();
        let mut left = tokens;
        let mut all = KvFormat::ALL.map(|_| Vec::new());
        for window in list(&golden["windows"]) {
            let mut text = ids(window);
            text.truncate(left.min(policy.limit.unwrap_or(u32::MAX) as usize));
            left -= text.len();
            if text.len() < 2 {
                break;
            }
            for (kv, nll) in KvFormat::ALL.into_iter().zip(&mut all) {
                nll.extend(block_on(score_with(&model, &policy, kv, &text, Path::Chunk(128))).unwrap().nll);
            }
        }
        let [floats, rounded @ ..] = &all;
        let (preset, of_floats) = (policy.preset, mean(floats));
        println!("{preset}: {} tokens, {of_floats:.5} nats with f32 entries", floats.len());
        for (kv, rounded) in ROUNDED.into_iter().zip(rounded) {
            let moved = mean(rounded) - of_floats;
            println!("{preset}: {moved:+.1e} with {}; NMSE {:.1e}", kv.name(), nmse(rounded, floats));
            assert!(floats != rounded, "nothing was rounded");
            let most = bound(&format!("mean nats of the embedded model by {}", entries(kv)));
            assert!(moved.abs() <= most, "{}: {moved:e}", kv.name());
        }
    }
}
