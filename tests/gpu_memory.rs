//! Memory is what the plan says, and it does not grow.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod golden;
    pub mod gpu;
    pub mod skip;
}

use std::sync::{Arc, Mutex};

use killick::gpu::{Counters, Gpu, LibraryCounters};
use killick::kernels::{KvFormat, WeightFormat, choose};
use killick::kv::{PolicySpec, Preset};
use killick::model::{MemoryPlan, Model, SessionShape};
use killick::model_file::Heads;
use killick::model_file::ModelFile;
use killick::session::{Session, SessionOptions};
use killick::{Batch, BatchEvent, GenerateOptions, Pool, SamplerOptions, Steps};
use pollster::block_on;
use support::golden::data;
use support::gpu::share;

/// One test at a time: they count the objects of their own device, and devices share the driver's memory.
static ALONE: Mutex<()> = Mutex::new(());

fn open() -> (Gpu, Arc<Model>) {
    let gpu = support::gpu::open(&support::gpu::options());
    let file = ModelFile::open_path(&data("tiny/gqa")).unwrap();
    let model = Arc::new(block_on(Model::load(&gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    (gpu, model)
}

/// The library's count of objects once those are freed that nothing uses any more, such as what uploads were staged in.
fn settled(gpu: &Gpu) -> LibraryCounters {
    // Two submits: the first lets the device notice what is unused, the second frees it.
    gpu.wait().unwrap();
    gpu.wait().unwrap();
    gpu.library_counters()
}

fn specs() -> Vec<PolicySpec> {
    let anchors = Some(vec![7, 30]);
    vec![
        PolicySpec { ctx: Some(200), ..PolicySpec::new(Preset::Full) },
        PolicySpec { anchors: anchors.clone(), max_anchors: Some(20), ..PolicySpec::new(Preset::Anchor) },
        PolicySpec { anchors, window: Some(16), ..PolicySpec::new(Preset::SepLlm) },
        PolicySpec { window: Some(17), ..PolicySpec::new(Preset::Streaming) },
        PolicySpec { window: Some(16), ..PolicySpec::new(Preset::Window) },
        // So many keys that the family for GPUs splits them.
        PolicySpec::new(Preset::Full),
    ]
}

#[test]
fn allocated_bytes_equal_the_plan() {
    let _alone = ALONE.lock();
    for (spec, kv) in specs().into_iter().flat_map(|spec| KvFormat::ALL.map(|kv| (spec.clone(), kv))) {
        let (gpu, model) = open();
        let config = model.config();
        // As if it had been trained on so many tokens, which decides what `full` may hold.
        let policy = spec.resolve(4096).unwrap();
        let options = SessionOptions { chunk: 33, in_flight: 5, kv };
        let plan =
            MemoryPlan::new(config, WeightFormat::F32, &policy, options.shape(), gpu.capabilities()).unwrap();
        let session = block_on(Session::new(&model, &policy, options)).unwrap();

        let arena = gpu.counters().buffer_bytes - model.allocated_bytes() - session.allocated_bytes();
        assert_eq!(arena, 256 * 512, "nothing but the plan and the kernel parameters");
        assert_eq!(
            plan.total_bytes,
            model.allocated_bytes() + session.allocated_bytes(),
            "{}",
            policy.preset
        );

        // The cache by the formula of the design: (S + A + X + L + X) slots, K and V, in every layer.
        let anchor_slots =
            if policy.has_anchors() && policy.max_anchors > 0 { policy.max_anchors + 5 } else { 0 };
        let slots = u64::from(policy.sinks + anchor_slots + policy.live_len() + 5);
        // Each in memory of its own, which comes in whole rows where it is a texture.
        let heads =
            Heads { n_heads: config.n_heads, n_kv_heads: config.n_kv_heads, head_dim: config.head_dim };
        let memory = choose::cache_layout(options.kv, heads, gpu.capabilities()).request("", slots, heads);
        assert!(memory.bytes >= slots * kv.bytes(heads.n_kv_heads, heads.head_dim));
        let each = u64::from(config.n_layers) * 2;
        assert_eq!(session.kv().bytes_allocated, each * memory.bytes, "{}", policy.preset);
    }
}

/// Nothing is made after warm-up: not by the engine's count, not by the GPU library's.
#[test]
fn nothing_is_allocated_between_token_200_and_2000() {
    let _alone = ALONE.lock();
    for spec in specs().into_iter().skip(1).take(share(4, 1)) {
        let (gpu, model) = open();
        let policy = spec.resolve(model.config()).unwrap();
        let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&[1, 2, 3])).unwrap();
        let (mut id, mut early) = (4, None);
        for step in 3..2000_u32 {
            // The likeliest token, stirred a little: a random model soon repeats itself.
            id = (block_on(session.step_greedy(id)).unwrap() + step) % 321;
            if step == 200 {
                early = Some((gpu.counters(), gpu.library_counters()));
            }
        }
        let (early, early_library) = early.unwrap();
        let late = gpu.counters();
        let made = |c: Counters| [c.buffers, c.buffer_bytes, c.bind_groups, c.pipelines, c.params_writes];
        assert_eq!(made(early), made(late), "{}", policy.preset);
        assert_eq!(early_library, gpu.library_counters(), "{}", policy.preset);
        let tokens = 1999 - 200;
        assert_eq!(late.passes - early.passes, tokens, "one pass a token");
        assert_eq!(late.submits - early.submits, tokens, "one submit a token");
        assert_eq!(late.readbacks - early.readbacks, tokens, "one read a token");
        // Ring step, embedding, six a layer, final norm, head, argmax.
        let parts = model.config().n_layers * 6 + 5;
        let dispatches = (late.dispatches - early.dispatches) / tokens;
        assert!(dispatches >= u64::from(parts), "{dispatches} dispatches a token");
        if std::env::var("KILLICK_MAX_BINDING").is_err() {
            assert_eq!(dispatches, u64::from(parts), "{}", policy.preset);
        }
        assert_eq!(session.kv().seen, 2000);
        assert!(session.kv().peak_live < 400, "{:?}", session.kv());
    }
}

/// What several texts are told, row by row, is in the plan of their pool.
#[test]
fn allocated_bytes_of_a_pool_equal_the_plan() {
    let _alone = ALONE.lock();
    for texts in [1, 2, 5] {
        let (gpu, model) = open();
        // The last has memory for the shares of each text's keys.
        let policy = specs()[if texts == 2 { 1 } else { 5 }].resolve(4096).unwrap();
        let options = SessionOptions { chunk: 33, in_flight: 5, ..SessionOptions::default() };
        let shape = SessionShape { texts, ..options.shape() };
        let plan =
            MemoryPlan::new(model.config(), WeightFormat::F32, &policy, shape, gpu.capabilities()).unwrap();
        let pool = block_on(Pool::new(&model, &policy, options, texts)).unwrap();
        // The plan is that of the pool and one of its sessions.
        let session = block_on(pool.session()).unwrap();
        let own = session.allocated_bytes() - pool.allocated_bytes() / u64::from(texts);
        assert_eq!(plan.total_bytes, model.allocated_bytes() + pool.allocated_bytes() + own, "{texts} texts");
        let arena = gpu.counters().buffer_bytes - plan.total_bytes;
        assert_eq!(arena, 256 * 512, "nothing but the plan and the kernel parameters");
    }
}

/// Texts come and go with all kinds of settings. Once every number of rows was met, nothing is made any more.
#[test]
fn nothing_is_made_for_texts_that_come_and_go() {
    let _alone = ALONE.lock();
    let (gpu, model) = open();
    let policy = specs()[1].resolve(model.config()).unwrap();
    let pool = block_on(Pool::new(&model, &policy, SessionOptions::default(), 4)).unwrap();
    let mut free: Vec<Session> = (0..4).map(|_| block_on(pool.session()).unwrap()).collect();
    let options = |i: u32| GenerateOptions {
        max_tokens: 20 + i % 7,
        ignore_eos: true,
        sampler: SamplerOptions {
            temperature: if i.is_multiple_of(2) { 0.9 } else { 0.0 },
            top_k: i % 5,
            repetition_penalty: if i.is_multiple_of(3) { 1.2 } else { 1.0 },
            logit_bias: vec![(i % 300, 1.0)],
            logprobs: i % 4,
            seed: i.into(),
            ..SamplerOptions::default()
        },
        ..GenerateOptions::default()
    };
    let mut batch = Batch::new(&pool, Steps::Fixed(8)).unwrap();
    let (mut added, mut ended, mut tokens, mut early) = (0, 0, 0_u64, None);
    while ended < 120 {
        // After forty texts all leave, one after the other, so that every number of rows is met.
        while added < 120 && (added % 40 != 0 || ended == added) {
            let Some(mut session) = free.pop() else { break };
            session.reset().unwrap();
            block_on(session.append(&[1, 2, added % 300])).unwrap();
            batch.add(session, options(added)).unwrap();
            added += 1;
        }
        match block_on(batch.next_event()).unwrap() {
            Some(BatchEvent::Piece { .. }) => tokens += 1,
            Some(BatchEvent::Ended { session, end, .. }) => {
                end.unwrap();
                free.push(session);
                ended += 1;
            }
            None => {}
        }
        if ended == 80 && early.is_none() {
            early = Some((gpu.counters(), settled(&gpu)));
        }
    }
    let ((early, early_library), late) = (early.unwrap(), gpu.counters());
    let made = |c: Counters| [c.buffers, c.buffer_bytes, c.bind_groups, c.pipelines];
    assert_eq!(made(early), made(late));
    assert_eq!(early_library, settled(&gpu));
    assert!(tokens > 120 * 20 && late.submits > early.submits, "{tokens} tokens");
}

/// A second text costs its cache and what the loop is told; results of passes lie in one place for all texts of a model.
#[test]
fn sessions_of_a_model_share_its_scratch() {
    let _alone = ALONE.lock();
    let (gpu, model) = open();
    let policy = specs()[1].resolve(model.config()).unwrap();
    let made = || gpu.counters().buffer_bytes;
    let new = |options| block_on(Session::new(&model, &policy, options)).unwrap();
    let weights = model.allocated_bytes();
    let before = made();
    let first = new(SessionOptions::default());
    let (one, scratch) = (made() - before, model.allocated_bytes() - weights);
    assert_eq!(one, first.allocated_bytes() + scratch);
    let second = new(SessionOptions::default());
    let two = made() - before;
    println!("one session {one} bytes, two {two}; scratch {scratch}, cache {}", first.kv().bytes_allocated);
    assert_eq!(two - one, second.allocated_bytes());
    assert_eq!(model.allocated_bytes(), weights + scratch, "made once");
    assert!(second.allocated_bytes() < second.kv().bytes_allocated + 32 * 1024, "{two}");
    // Another chunk is another scratch, and each is freed with the last session that has it.
    let third = new(SessionOptions { chunk: 7, ..SessionOptions::default() });
    assert!(model.allocated_bytes() > weights + scratch);
    drop((first, third));
    assert_eq!(model.allocated_bytes(), weights + scratch);
    drop(second);
    assert_eq!(model.allocated_bytes(), weights);
}

#[test]
fn a_dropped_session_gives_its_memory_back() {
    let _alone = ALONE.lock();
    let (gpu, model) = open();
    let policy = specs()[1].resolve(256).unwrap();
    let use_one = || {
        let mut session = block_on(Session::new(&model, &policy, SessionOptions::default())).unwrap();
        block_on(session.append(&[1, 2, 3])).unwrap();
        block_on(session.step_greedy(4)).unwrap();
    };
    use_one();
    let first = settled(&gpu);
    for _ in 0..5 {
        use_one();
    }
    let last = settled(&gpu);
    assert_eq!(first.buffers, last.buffers, "buffers");
    assert_eq!(first.bind_groups, last.bind_groups, "bind groups");
}

#[test]
fn a_binding_too_small_is_refused_by_name() {
    let _alone = ALONE.lock();
    let options = killick::GpuOptions { max_binding_bytes: Some(64 << 10), ..support::gpu::options() };
    let gpu = support::gpu::open(&options);
    let file = ModelFile::open_path(&data("tiny/gqa")).unwrap();
    let error =
        block_on(Model::load(&gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap_err().to_string();
    assert!(error.contains("rope table") && error.contains("65536"), "{error}");
}
