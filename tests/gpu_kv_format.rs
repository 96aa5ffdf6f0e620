//! Keys and values as 16-bit floats, end to end: rounded once, read the same by everyone, half the memory, and never garbage.

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
const HALF: SessionOptions = SessionOptions { chunk: 16, in_flight: 32, kv: KvFormat::F16 };

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
    for policy in policies() {
        let mut all = [Steps::OnHost, Steps::Fixed(1), Steps::Fixed(16), Steps::Auto].map(|steps| {
            let mut session = session(&model, &policy, HALF);
            block_on(session.append(&text(37))).unwrap();
            generated(&mut session, steps, 40)
        });
        all.rotate_left(1);
        assert!(all.iter().all(|ids| *ids == all[0]), "{}: {all:?}", policy.preset);
    }
}

/// A number that falls next to the border of two 16-bit ones may be rounded to either, where another order of sums moves it.
#[test]
fn chunks_and_steps_leave_the_same_text() {
    let model = tiny();
    let mut worst = 0.0_f64;
    for policy in policies() {
        let text = text(share(160, 80) as u32);
        let [steps, chunks] = [Path::Ring, Path::Chunk(16)]
            .map(|path| block_on(score_with(&model, &policy, KvFormat::F16, &text, path)).unwrap().nll);
        for (step, chunk) in steps.iter().zip(&chunks) {
            worst = worst.max(f64::from((step - chunk).abs()));
        }
        // The formats differ by more, so that it was 16 bits that both paths kept.
        let floats = block_on(score_with(&model, &policy, KvFormat::F32, &text, Path::Ring)).unwrap().nll;
        let moved = steps.iter().zip(&floats).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        println!("{}: f16 moves a token by up to {moved:.1e} nats, a chunk by {worst:.1e}", policy.preset);
        assert!(moved > 0.0, "nothing was rounded");
        assert!(moved <= bound("nats of a token of a tiny model by 16-bit entries"), "{moved:e}");
    }
    assert!(worst <= bound("nats of a token of a tiny model with 16-bit entries between paths"), "{worst:e}");
}

#[test]
fn a_fork_and_a_pool_copy_entries_bit_by_bit() {
    let model = tiny();
    for policy in policies() {
        let mut first = session(&model, &policy, HALF);
        block_on(first.append(&text(50))).unwrap();
        let mut fork = block_on(first.fork()).unwrap();
        let pool = block_on(Pool::new(&model, &policy, HALF, 3)).unwrap();
        let [mut low, mut high] = [(); 2].map(|()| block_on(pool.session()).unwrap());
        low.copy_from(&first).unwrap();
        high.copy_from(&low).unwrap();
        for id in text(9) {
            let want = block_on(first.step_logits(id)).unwrap();
            for (what, other) in [("fork", &mut fork), ("pool", &mut low), ("within a pool", &mut high)] {
                let got = block_on(other.step_logits(id)).unwrap();
                assert_eq!(got, want, "{what}, {}", policy.preset);
            }
        }
        // A text in the other format is another kind of text.
        let mut floats = session(&model, &policy, SessionOptions { kv: KvFormat::F32, ..HALF });
        assert!(floats.copy_from(&first).is_err());
    }
}

#[test]
fn entries_take_half_the_memory_and_scratch_of_the_other_format_is_not_shared() {
    let model = tiny();
    let policy = &policies()[1];
    let [half, floats] =
        [KvFormat::F16, KvFormat::F32].map(|kv| session(&model, policy, SessionOptions { kv, ..HALF }));
    assert_eq!((half.kv().format, floats.kv().format), (KvFormat::F16, KvFormat::F32));
    // In textures whole rows are counted, so a little more than half.
    let share = half.kv().bytes_allocated as f64 / floats.kv().bytes_allocated as f64;
    assert!((0.5..0.75).contains(&share), "{share}");
    for mut session in [half, floats] {
        block_on(session.append(&text(40))).unwrap();
        let kv = session.kv();
        let numbers = u64::from(kv.live) * 3 * 2 * 2 * 16;
        assert_eq!(kv.bytes_live, kv.format.bytes(1) * numbers);
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

/// Beyond 65,504 there is no 16-bit float: the text ends with an error, whoever reads the entry.
#[test]
fn an_entry_too_large_for_16_bits_is_an_error_and_no_garbage() {
    for matrix in ["k_proj", "v_proj"] {
        let model = grown(matrix, 1e6);
        for policy in policies() {
            let nll =
                block_on(score_with(&model, &policy, KvFormat::F32, &text(20), Path::Ring)).unwrap().nll;
            assert!(nll.iter().all(|nll| nll.is_finite()), "32 bits hold it");
            for path in [Path::Ring, Path::Chunk(16)] {
                let error =
                    block_on(score_with(&model, &policy, KvFormat::F16, &text(20), path)).unwrap_err();
                assert!(
                    error.to_string().contains("not finite; the weights are broken, or need f32"),
                    "{matrix}, {path}: {error}"
                );
            }
            for steps in [Steps::OnHost, Steps::Fixed(4)] {
                let mut session = session(&model, &policy, HALF);
                let options = GenerateOptions { steps, max_tokens: 4, ..GenerateOptions::default() };
                let error = match block_on(session.append(&text(5))) {
                    Err(error) => error.to_string(),
                    Ok(()) => session.generate(options).unwrap().find_map(Result::err).unwrap().to_string(),
                };
                assert!(error.contains("not finite"), "{matrix}, {steps:?}: {error}");
            }
        }
    }
}

#[test]
fn the_masked_path_says_that_it_has_no_other_format() {
    let (model, policy) = (tiny(), &policies()[0]);
    let error = block_on(score_with(&model, policy, KvFormat::F16, &text(9), Path::Masked)).unwrap_err();
    assert!(error.to_string().contains("masked") && error.to_string().contains("f16"), "{error}");
}

/// The embedded model on held-out text: what 16 bits cost in loss.
#[test]
fn sixteen_bits_cost_next_to_no_loss() {
    let golden = json("embedded/windows.json");
    let file = block_on(ModelFile::open(FileSet::embedded())).unwrap();
    let model = load(&file);
    let recorded: PolicySpec = serde_json::from_value(file.policy().unwrap().clone()).unwrap();
    // 4,000 tokens where a step is thorough.
    let tokens: usize = share(4000, 300);
    for spec in [recorded, PolicySpec::new(Preset::Full)] {
        let policy = spec.resolve(model.config()).unwrap();
        let mut left = tokens;
        let mut all = [Vec::new(), Vec::new()];
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
        let [floats, half] = &all;
        let moved = mean(half) - mean(floats);
        println!(
            "{}: {} tokens, {:.5} nats with f32 entries, {:+.1e} with f16; NMSE {:.1e}",
            policy.preset,
            floats.len(),
            mean(floats),
            moved,
            nmse(half, floats)
        );
        assert!(floats != half, "nothing was rounded");
        assert!(moved.abs() <= bound("mean nats of the embedded model by 16-bit entries"), "{moved:e}");
    }
}
