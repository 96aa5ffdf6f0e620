//! What a token costs: dispatches, submits, reads and time, each of them as often as the design says, however long the text.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::sync::{Arc, Mutex};

use killick::gpu::{Counters, Gpu};
use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::session::{Session, SessionOptions};
use killick::{GenerateOptions, SamplerOptions, Steps};
use pollster::block_on;
use support::bounds::bound;
use support::golden::data;
use support::gpu::{cpu_seconds, thorough};
use support::skip::skipped;

/// Time and counters are of the whole process, so one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A device of this test alone, and the tiny model on it.
fn open() -> (Gpu, Arc<Model>) {
    let gpu = support::gpu::open(&support::gpu::options());
    let file = ModelFile::open_path(&data("tiny/gqa")).unwrap();
    let model = block_on(Model::load(&gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
    (gpu, Arc::new(model))
}

/// 64 anchors are reached within 2,000 tokens, and never more.
fn spec() -> PolicySpec {
    PolicySpec {
        anchors: Some((0..321).step_by(9).collect()),
        max_anchors: Some(64),
        max_segment: Some(24),
        max_distance: Some(1 << 20),
        ..PolicySpec::new(Preset::Anchor)
    }
}

fn session(model: &Arc<Model>, spec: &PolicySpec) -> Session {
    let policy = spec.resolve(model.config()).unwrap();
    block_on(Session::new(model, &policy, SessionOptions::default())).unwrap()
}

fn options(steps: Steps, max_tokens: u32) -> GenerateOptions {
    GenerateOptions { max_tokens, ignore_eos: true, steps, ..GenerateOptions::default() }
}

/// The figures of the design: one pass and one submit for K steps, one read for them, no waiting inside; 6 dispatches a layer and 5
/// for a greedy step, at most 6 more for a chain of the sampler.
#[test]
fn a_batch_is_one_submit_one_pass_and_one_read() {
    let _alone = ALONE.lock();
    let (gpu, model) = open();
    let layers = model.config().n_layers as usize;
    let whole = std::env::var("KILLICK_MAX_BINDING").is_err();
    let everything = SamplerOptions {
        temperature: 1.0,
        top_k: 40,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.1,
        logit_bias: vec![(1, 1.0)],
        logprobs: 5,
        ..SamplerOptions::default()
    };
    for (sampler, most) in [(SamplerOptions::default(), 6 * layers + 5), (everything, 6 * layers + 5 + 6)] {
        let mut session = session(&model, &spec());
        block_on(session.append(&[1, 2, 3, 4, 5])).unwrap();
        let options = GenerateOptions { sampler, ..options(Steps::Fixed(16), 1 + 16 * 6) };
        let mut generation = session.generate(options).unwrap();
        let dispatches = generation.step_dispatches().len();
        assert!(!whole || dispatches <= most, "{dispatches} dispatches a step");
        // The first token, and the first batch: by then everything has been made.
        assert_eq!(generation.by_ref().take(1 + 16).count(), 17);
        let before = gpu.counters();
        assert_eq!(generation.by_ref().take(16 * 3).count(), 16 * 3);
        let after = gpu.counters();
        let counted = |of: fn(&Counters) -> u64| of(&after) - of(&before);
        assert_eq!(counted(|c| c.submits), 3, "a submit for 16 steps");
        assert_eq!(counted(|c| c.passes), 3, "a pass for 16 steps");
        assert_eq!(counted(|c| c.readbacks), 3, "a map_async for 16 steps");
        assert!(counted(|c| c.waits) <= 3, "waiting inside a batch");
        assert_eq!(counted(|c| c.uploads), 0, "nothing goes to the device");
        assert_eq!(
            counted(|c| c.params_writes + c.buffers + c.bind_groups + c.pipelines),
            0,
            "nothing is made"
        );
        assert_eq!(counted(|c| c.dispatches), 3 * 16 * dispatches as u64);
    }
}

/// Pairs of stretches, one of each session.
const PAIRS: usize = 60;

/// Memory and counters stay where they are, and so does the work: a step at 2,000 and one at 20,000 cost the same, the ring being
/// full at both. Alternating stretches of two sessions, by the CPU time of this process: a software device is the CPU.
///
/// Neighbours on the machine disturb both stretches of a pair alike, and a few pairs more than others, so the median of the pairs' ratios
/// counts, of a number that is fixed beforehand. Work that grows with the length would be ten times as much.
#[test]
fn a_token_costs_the_same_at_20000_as_at_2000() {
    let _alone = ALONE.lock();
    let (gpu, model) = open();
    if !gpu.is_software() || !thorough() {
        skipped(
            "a token at 20,000 and at 2,000",
            "asked where a step is thorough, and of software devices: a GPU's time is not this process's",
        );
        return;
    }
    let long = 20_000;
    let reached = |length: usize| {
        let mut session = session(&model, &spec());
        let text: Vec<u32> = (0..length as u32).map(|i| (i * i + i * 7) % 321).collect();
        block_on(session.append(&text)).unwrap();
        session
    };
    let (mut early, mut late) = (reached(2_000), reached(long));
    assert_eq!((early.kv().live / 64, late.kv().live / 64), (1, 1), "the ring is full in both");
    let options = GenerateOptions {
        sampler: SamplerOptions { temperature: 3.0, ..SamplerOptions::default() },
        ..options(Steps::Fixed(16), 48)
    };
    let stretch = |session: &mut Session| {
        let begun = cpu_seconds();
        assert_eq!(session.generate(options.clone()).unwrap().map(Result::unwrap).count(), 48);
        cpu_seconds() - begun
    };
    stretch(&mut early);
    stretch(&mut late);
    let made = || {
        let (ours, library) = (gpu.counters(), gpu.library_counters());
        let own = [ours.buffers, ours.buffer_bytes, ours.bind_groups, ours.pipelines, ours.params_writes];
        (own, library.bind_groups, library.pipelines)
    };
    let before = made();
    let mut ratios: Vec<f64> = (0..PAIRS).map(|_| stretch(&mut late) / stretch(&mut early)).collect();
    assert_eq!(made(), before, "nothing is made");
    ratios.sort_by(f64::total_cmp);
    let [low, median, high] = [1, 2, 3].map(|quarter| ratios[quarter * PAIRS / 4]);
    println!(
        "a token at {long} costs {median:.3} of one at 2,000; half of {PAIRS} pairs lie from {low:.3} to {high:.3}"
    );
    let most = bound("cost of a token at 20,000 from one at 2,000, share of it");
    assert!((median - 1.0).abs() < most, "{ratios:?}");
}
