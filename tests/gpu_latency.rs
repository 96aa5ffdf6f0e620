//! A slow link between device and host costs nothing as long as the device has work: two submits are under way.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]
mod support {
    pub mod bounds;
    pub mod gguf_writer;
    pub mod gpu;
    pub mod random;
    pub mod safetensors_writer;
    pub mod skip;
    pub mod tiny_model;

    pub use random::Random;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use killick::gpu::Gpu;
use killick::kernels::WeightFormat;
use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::{FileSet, ModelFile};
use killick::session::{Session, SessionOptions};
use killick::{GenerateOptions, Steps};
use pollster::block_on;
use support::bounds::bound;
use support::tiny_model::TinyModel;

const BATCHES: u32 = 6;
/// A model large enough that sixteen tokens are no matter of the host alone.
fn model(gpu: &Gpu) -> Arc<Model> {
    let mut tiny = TinyModel {
        hidden: 512,
        layers: 4,
        heads: 8,
        kv_heads: 4,
        head_dim: 64,
        ffn: 1024,
        vocab: 4096,
        context: 1024,
        ..TinyModel::new()
    };
    tiny.weights.clear();
    tiny.randomize(3);
    let file = block_on(ModelFile::open(FileSet::from_bytes(tiny.files()))).unwrap();
    Arc::new(block_on(Model::load(gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap())
}

/// With K = 16 and every read late by three fifths of what a batch takes, less than a fifth of the speed is lost; a loop that
/// waited for each would take half as long again. Other programs disturb a single time, so the best of some rounds counts; beside a busy
/// neighbour eight were too few.
#[test]
fn a_delay_of_every_read_is_hidden_behind_the_next_batch() {
    let gpu = support::gpu::open(&support::gpu::options());
    let model = model(&gpu);
    let policy = PolicySpec { window: Some(64), ..PolicySpec::new(Preset::Window) };
    let policy = policy.resolve(model.config()).unwrap();
    let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
    block_on(session.append(&[50, 35, 28])).unwrap();
    let mut seconds = |delay: Duration| {
        gpu.delay_reads(delay);
        // The first token is a batch of its own.
        let max_tokens = 1 + BATCHES * 16;
        let options = GenerateOptions {
            max_tokens,
            ignore_eos: true,
            steps: Steps::Fixed(16),
            ..GenerateOptions::default()
        };
        let begun = Instant::now();
        assert_eq!(session.generate(options).unwrap().map(Result::unwrap).count(), max_tokens as usize);
        begun.elapsed().as_secs_f64()
    };
    seconds(Duration::ZERO);
    // The best of some: a delay longer than a batch has nothing to hide behind.
    let mut plain = (0..4).map(|_| seconds(Duration::ZERO)).fold(f64::INFINITY, f64::min);
    let delay = Duration::from_secs_f64(0.6 * plain / f64::from(BATCHES));
    let most = bound("time with late reads, as a multiple of that without");
    // The first read and the last have nothing to hide behind.
    let hidden = |late: f64, by: Duration, plain: f64| late - 2.0 * by.as_secs_f64() < most * plain;
    let mut delayed = f64::MAX;
    for _ in 0..24 {
        delayed = delayed.min(seconds(delay));
        if hidden(delayed, delay, plain) {
            break;
        }
        plain = plain.min(seconds(Duration::ZERO));
    }
    // A delay of twelve batches hides behind nothing, as two are under way at most. Where it is not seen, no read was late at all.
    let long = Duration::from_secs_f64(12.0 * plain / f64::from(BATCHES));
    let seen = seconds(long);
    println!("{plain:.3} s, {delayed:.3} s with late reads, {seen:.3} s with reads late by {long:?}");
    assert!(hidden(delayed, delay, plain), "{plain} s and {delayed} s");
    assert!(!hidden(seen, long, plain), "{plain} s and {seen} s with reads late by {long:?}");
}

/// A waker that notes that it was called.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whoever serves many texts on one thread polls each in turn: a poll of one that is not there yet must not hold up the others.
#[test]
fn a_poll_does_not_wait_for_the_device_and_wakes_who_asked() {
    const LATE: Duration = Duration::from_millis(400);
    let gpu = support::gpu::open(&support::gpu::options());
    let model = model(&gpu);
    let policy = PolicySpec::new(Preset::Window).resolve(model.config()).unwrap();
    let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
    block_on(session.append(&[50, 35, 28])).unwrap();
    let options = GenerateOptions { max_tokens: 1, ignore_eos: true, ..GenerateOptions::default() };
    // Once before, so that pipelines are there.
    assert_eq!(session.generate(options.clone()).unwrap().map(Result::unwrap).count(), 1);
    gpu.delay_reads(LATE);
    let mut generation = session.start(GenerateOptions { max_tokens: 2, ..options }).unwrap();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    // lavapipe runs a submit before it returns, so the first poll may take as long as that; the next ones submit nothing.
    assert!(generation.poll_token(&mut session, &mut context).is_pending());
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(generation.poll_token(&mut session, &mut context).is_pending());
    }
    let took = begun.elapsed();
    assert!(took < LATE / 2, "a hundred polls took {took:?}");
    // Polled only when it was woken, it comes to its end.
    let token = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody was woken");
        if !woken.0.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        } else if let Poll::Ready(token) = generation.poll_token(&mut session, &mut context) {
            break token.unwrap();
        }
    };
    assert!(token.is_some());
}
