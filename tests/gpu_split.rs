//! Texts so long that a decode step for GPUs splits the keys of a row: what is drawn is what one workgroup for all of them would lead to.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use killick::gpu::{Dispatch, Family, Gpu, GpuOptions};
use killick::kernels::{KvFormat, WeightFormat};
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::session::{Pool, Session, SessionOptions};
use killick::{Batch, BatchEvent, GenerateOptions, SamplerOptions, Steps, Token};
use pollster::block_on;
use support::bounds::bound;
use support::golden::{data, nmse};
use support::gpu::{leave_idle, share};

const VOCAB: u32 = 120;
/// The id that closes a segment. No test draws it.
const ANCHOR: u32 = VOCAB - 1;
/// Tokens of the open segment that all tests go on from: with 64 more its keys are in two shares. Steps have room for shares a little
/// earlier, because they run ahead of the host.
const BEGUN: u32 = 960;
const SESSION: SessionOptions = SessionOptions { chunk: 128, in_flight: 32, kv: KvFormat::F32 };

/// One test at a time: one counts the objects of the device that all share.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Any text without an anchor.
fn text(n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * 29 + i * i + 5) % ANCHOR).collect()
}

/// A device with the kernels for GPUs, whatever it is, and on it a model with few heads: of this family a software device is slow.
fn model() -> Arc<Model> {
    static MODEL: OnceLock<(Gpu, Arc<Model>)> = OnceLock::new();
    let (gpu, model) = MODEL.get_or_init(|| {
        let gpu = support::gpu::open(&GpuOptions { family: Some(Family::Gpu), ..support::gpu::options() });
        let file = ModelFile::open_path(&data("tiny/longrope")).unwrap();
        let model = block_on(Model::load(&gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap();
        assert_eq!(model.config().vocab_size, VOCAB);
        (gpu, Arc::new(model))
    });
    leave_idle(gpu);
    model.clone()
}

/// Calls `test` with the long text, which is read once for all tests.
fn begun<T>(test: impl FnOnce(&Session) -> T) -> T {
    static BEGUN_TEXT: OnceLock<Mutex<Session>> = OnceLock::new();
    let model = model();
    let session = BEGUN_TEXT.get_or_init(|| {
        let spec = PolicySpec {
            anchors: Some(vec![ANCHOR]),
            max_segment: Some(1200),
            ..PolicySpec::new(Preset::Anchor)
        };
        let policy = spec.resolve(4096).unwrap();
        let mut session = block_on(Session::new(&model, &policy, SESSION)).unwrap();
        block_on(session.append(&text(BEGUN))).unwrap();
        assert_eq!(session.kv().live, BEGUN, "the segment is open");
        Mutex::new(session)
    });
    test(&session.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The long text, and what follows it.
fn long(more: &[u32]) -> Session {
    let mut session = begun(|begun| block_on(begun.fork()).unwrap());
    block_on(session.append(more)).unwrap();
    session
}

fn options(steps: Steps, max_tokens: u32) -> GenerateOptions {
    let sampler = SamplerOptions { banned: vec![ANCHOR], ..SamplerOptions::default() };
    GenerateOptions { max_tokens, ignore_eos: true, steps, sampler, ..GenerateOptions::default() }
}

/// How many dispatches of a step are of this kernel.
fn count(step: &[Dispatch], kernel: &str) -> usize {
    step.iter().filter(|dispatch| dispatch.kernel.name == kernel).count()
}

/// Each of `ids`, which follow the text of `plain`, is the likeliest by passes whose keys are not split: prompt chunks of one token.
fn follow(mut plain: Session, ids: &[u32], what: &str) {
    for (i, id) in ids.iter().enumerate() {
        let logits = block_on(plain.next_logits()).unwrap();
        let best = logits[..ANCHOR as usize].iter().copied().fold(f32::MIN, f32::max);
        let off = f64::from(best - logits[*id as usize]);
        let most = bound("margin of the likeliest token of a tiny model");
        assert!(off < most, "{what}: token {i} is off by {off:e}");
        block_on(plain.append(&[*id])).unwrap();
    }
}

/// The decode loop, begun where no keys are split and ended where they are, by every kind of steps; those that run ahead too.
#[test]
fn a_text_that_grows_beyond_the_threshold_goes_on_as_it_would() {
    let _alone = alone();
    let layers = model().config().n_layers as usize;
    let modes = [Steps::Fixed(16), Steps::Fixed(1), Steps::OnHost, Steps::Auto];
    let mut bits: Option<Vec<(u32, u32)>> = None;
    for steps in modes.into_iter().take(share(4, 3)) {
        let mut session = long(&[]);
        let mut options = options(steps, 100);
        options.sampler.logprobs = 1;
        let mut generation = session.generate(options).unwrap();
        let before: Vec<Dispatch> = generation.step_dispatches().to_vec();
        assert_eq!((count(&before, "attention"), count(&before, "attention_split")), (layers, 0));
        let tokens: Vec<Token> = generation.by_ref().map(|token| token.unwrap()).collect();
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        if steps != Steps::OnHost {
            // The host makes room for shares at another token then, and the text is the same to the last bit.
            let chosen = |token: &Token| (token.id, token.logprobs.as_ref().unwrap().chosen.to_bits());
            let got: Vec<(u32, u32)> = tokens.iter().map(chosen).collect();
            assert_eq!(bits.get_or_insert_with(|| got.clone()), &got, "{steps:?}");
            let after = generation.step_dispatches();
            for kernel in ["attention_split", "attention_join"] {
                assert_eq!(count(after, kernel), layers, "{kernel} with {steps:?}");
            }
            assert_eq!(count(after, "attention"), 0, "{steps:?}");
            assert_eq!(after.len(), before.len() + layers, "one dispatch more a layer");
        }
        drop(generation);
        assert_eq!(session.kv().live, BEGUN + 99, "the last token is pending");
        follow(long(&[]), &ids, &format!("{steps:?}"));
    }
}

/// Logits of single steps on both sides of the threshold, against passes whose keys are not split.
#[test]
fn the_logits_of_a_step_do_not_depend_on_the_shares() {
    let _alone = alone();
    let (mut split, mut plain) = (long(&[]), long(&[]));
    let (mut worst, most) = (0.0_f64, bound("logits of a tiny model"));
    for (i, id) in text(80).into_iter().enumerate() {
        let got = block_on(split.step_logits(id)).unwrap();
        block_on(plain.append(&[id])).unwrap();
        let want = block_on(plain.next_logits()).unwrap();
        let off = nmse(&got, &want);
        worst = worst.max(off);
        assert!(off <= most, "after {i} tokens more: {off:e}");
        if i == 79 {
            // Others in the place of a few tokens are seen, and a share is hundreds.
            let mut other = long(&[&[ANCHOR - 1; 79], &text(80)[79..]].concat());
            let other = nmse(&got, &block_on(other.next_logits()).unwrap());
            assert!(other > most, "the check sees nothing: {other:e}");
        }
    }
    println!("logits of shares against one workgroup: nmse {worst:.1e} at most");
}

/// A segment that grows long is split while it is open; when it is closed, one key is left of it.
#[test]
fn a_text_that_forgets_has_one_workgroup_again() {
    let _alone = alone();
    let layers = model().config().n_layers as usize;
    let mut session = long(&text(70));
    let shares = |session: &mut Session| {
        let generation = session.generate(options(Steps::Fixed(4), 1)).unwrap();
        count(generation.step_dispatches(), "attention_split")
    };
    assert_eq!(shares(&mut session), layers);
    block_on(session.append(&[ANCHOR])).unwrap();
    assert!(session.kv().live < 10, "{:?}", session.kv());
    assert_eq!(shares(&mut session), 0);
}

/// The longest text of a batch decides; a short one has shares without a key.
#[test]
fn texts_of_a_batch_are_split_alike() {
    const TOKENS: u32 = 100;
    let _alone = alone();
    let model = model();
    let policy = begun(|begun| begun.policy().clone());
    let pool = block_on(Pool::new(&model, &policy, SESSION, 3)).unwrap();
    let prompts = [text(70), text(3), text(130)];
    // Begins with the long text, or all three from the beginning on; the ids of each, and what the steps dispatched.
    let run = |with_long: bool| {
        let mut batch = Batch::new(&pool, Steps::Fixed(1)).unwrap();
        let mut texts = BTreeMap::new();
        for (i, prompt) in prompts.iter().enumerate() {
            let mut session = block_on(pool.session()).unwrap();
            if i == 0 && with_long {
                begun(|begun| session.copy_from(begun)).unwrap();
            }
            block_on(session.append(prompt)).unwrap();
            let id = batch.add(session, options(Steps::Fixed(1), TOKENS)).unwrap();
            texts.insert(id, Vec::new());
        }
        let before = model.gpu().counters().dispatches;
        while let Some(event) = block_on(batch.next_event()).unwrap() {
            match event {
                BatchEvent::Piece { id, piece } => {
                    texts.get_mut(&id).unwrap().extend(piece.token.map(|token| token.id));
                }
                BatchEvent::Ended { end, .. } => _ = end.unwrap(),
            }
        }
        (texts.into_values().collect::<Vec<Vec<u32>>>(), model.gpu().counters().dispatches - before)
    };
    let (ids, dispatches) = run(true);
    let (_, of_short) = run(false);
    // A token of a text comes of a step, and one that splits keys has a dispatch more a layer; a few steps that ran ahead are less.
    let more = u64::from(TOKENS - 30) * u64::from(model.config().n_layers);
    assert!(dispatches >= of_short + more, "{dispatches} dispatches, {of_short} of short texts");
    for (i, (prompt, ids)) in prompts.iter().zip(&ids).enumerate() {
        assert_eq!(ids.len(), TOKENS as usize);
        let plain = if i == 0 {
            long(prompt)
        } else {
            let mut session = block_on(Session::new(&model, &policy, SESSION)).unwrap();
            block_on(session.append(prompt)).unwrap();
            session
        };
        follow(plain, ids, &format!("text {i} of a batch"));
    }
}

/// Once both kinds of step were met nothing is made any more, however often a text crosses from one to the other.
#[test]
fn crossing_again_makes_nothing() {
    let _alone = alone();
    let model = model();
    let mut session = long(&[]);
    let mut made = Vec::new();
    for _ in 0..3 {
        begun(|begun| session.copy_from(begun)).unwrap();
        block_on(session.append(&text(62))).unwrap();
        for id in [1, 2, 3, ANCHOR, 4] {
            block_on(session.step_logits(id)).unwrap();
        }
        let counters = model.gpu().counters();
        made.push([counters.buffers, counters.bind_groups, counters.pipelines]);
    }
    assert_eq!(made[1], made[2]);
}
