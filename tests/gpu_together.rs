//! Several texts of one pool in one decode step: each gets what it would get alone, and forks share nothing.

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod steps;
}

use std::sync::Arc;

use killick::generate::GenerateError;
use killick::kernels::WeightFormat;
use killick::kv::{AtMaxSegment, PolicySpec, Preset};
use killick::model::Model;
use killick::model_file::ModelFile;
use killick::{
    Continued, GenerateOptions, Pool, SamplerOptions, Session, SessionOptions, Steps, StopReason, Token,
    generate_together,
};
use pollster::block_on;
use support::bounds::bound;
use support::golden::data;
use support::gpu::share;
use support::steps::{X, model, options, pool, prompt, session};

/// Every id that is a multiple of 7 closes a segment, and so does the ninth token.
fn segments() -> PolicySpec {
    PolicySpec {
        anchors: Some((0..321).step_by(7).collect()),
        max_anchors: Some(5),
        max_segment: Some(9),
        ..PolicySpec::new(Preset::Anchor)
    }
}

fn specs() -> Vec<PolicySpec> {
    vec![
        segments(),
        PolicySpec { window: Some(6), max_distance: Some(40), sinks: Some(2), ..segments() },
        PolicySpec { ctx: Some(64), ..PolicySpec::new(Preset::Full) },
        PolicySpec { window: Some(8), ..PolicySpec::new(Preset::Window) },
        PolicySpec { max_segment: Some(30), at_max_segment: Some(AtMaxSegment::Error), ..segments() },
    ]
}

/// Prompts of different lengths. The second ends with a token that closes a segment, which the first step consumes.
fn prompts() -> [Vec<u32>; 4] {
    let tail = |n: usize, last: u32| prompt()[..n].iter().copied().chain([last]).collect();
    [prompt(), tail(11, 14), tail(29, 5), tail(3, 6)]
}

/// A session of the pool that has read a prompt. Every other one has drawn a token already, which is pending.
fn begun(pool: &Arc<Pool>, i: usize) -> Session {
    let mut session = block_on(pool.session()).unwrap();
    read(&mut session, i);
    session
}

fn read(session: &mut Session, i: usize) {
    let (ids, last) = (prompts()[i].clone(), i % 2 == 1);
    block_on(session.append(&ids)).unwrap();
    if last {
        let drawn = session.generate(options(Steps::Fixed(1), 1)).unwrap().map(Result::unwrap).count();
        assert_eq!((drawn, session.pending().is_some()), (1, true));
    }
}

/// The text alone in a session of its own, and what it goes on with after that.
fn alone(
    model: &Arc<Model>,
    spec: &PolicySpec,
    i: usize,
    wanted: &GenerateOptions,
) -> (Vec<Token>, Option<StopReason>, Vec<u32>) {
    let mut session = session(model, spec);
    read(&mut session, i);
    let mut generation = session.generate(wanted.clone()).unwrap();
    let tokens = generation.by_ref().map(Result::unwrap).collect();
    let reason = generation.stop_reason();
    drop(generation);
    (tokens, reason, afterwards(&mut session))
}

/// A few more tokens after one from outside, if there is room.
fn afterwards(session: &mut Session) -> Vec<u32> {
    if session.remaining() < 8 || block_on(session.append(&[21])).is_err() {
        return Vec::new();
    }
    session.generate(options(Steps::Fixed(2), 4)).unwrap().map(|token| token.unwrap().id).collect()
}

fn samplers() -> [SamplerOptions; 3] {
    [
        SamplerOptions { logprobs: 2, ..SamplerOptions::default() },
        SamplerOptions { temperature: 1.0, seed: 5, ..SamplerOptions::default() },
        SamplerOptions {
            temperature: 1.2,
            repetition_penalty: 1.3,
            penalty_last_n: 20,
            logit_bias: vec![(5, 2.0)],
            ..SamplerOptions::default()
        },
    ]
}

#[test]
fn each_of_four_texts_gets_the_tokens_of_its_lone_run() {
    let model = model();
    let (mut stopped, mut full) = (0, 0);
    for (round, spec) in specs().into_iter().enumerate() {
        for sampler in samplers().into_iter().cycle().skip(round).take(share(3, 1)) {
            for steps in [Steps::Fixed(5), Steps::Auto].into_iter().take(share(2, 1)) {
                // One text ends by a token that it draws in the middle of its run.
                let free = GenerateOptions { sampler: sampler.clone(), ..options(steps, 40) };
                let (tokens, ..) = alone(&model, &spec, 2, &free);
                let stop_tokens = vec![tokens[tokens.len() / 3].id];
                let wanted = GenerateOptions { stop_tokens, ..free };
                let want: Vec<_> = (0..4).map(|i| alone(&model, &spec, i, &wanted)).collect();

                let pool = pool(&model, &spec, 5);
                let mut sessions: Vec<Session> = (0..4).map(|i| begun(&pool, i)).collect();
                // Rows in another order than the places.
                let mut rows: Vec<&mut Session> = sessions.iter_mut().collect();
                rows.swap(0, 2);
                let mut got = block_on(generate_together(&mut rows, &wanted)).unwrap();
                got.swap(0, 2);
                for ((Continued { tokens, end }, session), (want, reason, after)) in
                    got.iter().zip(&mut sessions).zip(&want)
                {
                    let case = format!("{} with {sampler:?}", spec.preset);
                    assert_eq!(
                        tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
                        want.iter().map(|token| token.id).collect::<Vec<_>>(),
                        "{case}"
                    );
                    assert_eq!(end.as_ref().ok(), reason.as_ref(), "{case}");
                    assert_eq!(session.pending(), want.last().map(|token| token.id).or(session.pending()));
                    assert_eq!(&afterwards(session), after, "{case}: what comes next");
                    stopped += usize::from(*reason == Some(StopReason::Stop));
                    full += usize::from(matches!(
                        reason,
                        Some(StopReason::ContextFull | StopReason::SegmentLimit)
                    ));
                    for (got, want) in tokens.iter().zip(want) {
                        let (Some(got), Some(want)) = (&got.logprobs, &want.logprobs) else {
                            assert_eq!(got.logprobs.is_some(), want.logprobs.is_some());
                            continue;
                        };
                        let nats = f64::from((got.chosen - want.chosen).abs());
                        assert!(nats < bound("nats of a token of a tiny model"), "{got:?} {want:?}");
                        assert_eq!(got.top.len(), want.top.len());
                    }
                }
            }
        }
    }
    assert!(stopped >= 5 && full >= 1, "{stopped} texts stopped, {full} came to the end of their memory");
}

#[test]
fn a_pool_is_made_once_and_its_places_are_given_back() {
    // A device of its own, whose count nothing else changes.
    let gpu = support::gpu::open(&support::gpu::options());
    let file = ModelFile::open_path(&data("tiny/gqa")).unwrap();
    let model = Arc::new(block_on(Model::load(&gpu, &file, WeightFormat::F32, &mut |_, _| {})).unwrap());
    let pool = pool(&model, &segments(), 3);
    let mut sessions: Vec<Session> = (0..3).map(|i| begun(&pool, i)).collect();
    assert_eq!(pool.free(), 0);
    let error = block_on(pool.session()).unwrap_err().to_string();
    assert!(error.contains("places for 3 texts"), "{error}");
    let all: u64 = sessions.iter().map(Session::allocated_bytes).sum();
    assert!(all > pool.allocated_bytes(), "each has a little of its own");
    // Once it runs, nothing more is made.
    let mut rows: Vec<&mut Session> = sessions.iter_mut().collect();
    block_on(generate_together(&mut rows, &options(Steps::Fixed(8), 30))).unwrap();
    let before = gpu.counters();
    block_on(generate_together(&mut rows, &options(Steps::Fixed(8), 60))).unwrap();
    let after = gpu.counters();
    assert_eq!((after.buffers, after.pipelines), (before.buffers, before.pipelines));
    drop(sessions.remove(1));
    assert_eq!(pool.free(), 1);
    let mut again = begun(&pool, 0);
    let (want, ..) = alone(&model, &segments(), 0, &options(Steps::Fixed(4), 20));
    let got: Vec<Token> = again.generate(options(Steps::Fixed(4), 20)).unwrap().map(Result::unwrap).collect();
    assert_eq!(got, want, "a place used before");
}

#[test]
fn forks_in_a_pool_and_outside_share_nothing() {
    let model = model();
    for spec in specs().into_iter().take(share(5, 2)) {
        let pool = pool(&model, &spec, 3);
        let (want, ..) = alone(&model, &spec, 1, &options(Steps::Fixed(3), 20));
        let trunk = begun(&pool, 1);
        let in_pool = || {
            let mut fork = block_on(pool.session()).unwrap();
            fork.copy_from(&trunk).unwrap();
            fork
        };
        let (mut inside, mut other) = (in_pool(), in_pool());
        assert_eq!(pool.free(), 0);
        // One in memory of its own takes no place.
        let mut outside = block_on(other.fork()).unwrap();
        block_on(other.append(&[9, 8, 7, 6, 5])).unwrap();
        let mut back = begun_elsewhere(&model, &spec);
        back.copy_from(&outside).unwrap();
        for fork in [&mut inside, &mut outside, &mut back] {
            let got: Vec<Token> =
                fork.generate(options(Steps::Fixed(3), 20)).unwrap().map(Result::unwrap).collect();
            assert_eq!(got, want, "{}", spec.preset);
        }
        // From memory of its own into the pool.
        let mut lone = session(&model, &spec);
        read(&mut lone, 1);
        other.copy_from(&lone).unwrap();
        let got: Vec<Token> =
            other.generate(options(Steps::Fixed(3), 20)).unwrap().map(Result::unwrap).collect();
        assert_eq!(got, want, "{} back into the pool", spec.preset);
    }
}

fn begun_elsewhere(model: &Arc<Model>, spec: &PolicySpec) -> Session {
    let mut session = session(model, spec);
    block_on(session.append(&[1, 2, 3])).unwrap();
    session
}

#[test]
fn what_cannot_go_on_together_is_refused() {
    let model = model();
    let (one, other) = (pool(&model, &segments(), 2), pool(&model, &segments(), 2));
    let (mut a, mut b) = (begun(&one, 0), begun(&other, 1));
    let error = block_on(generate_together(&mut [&mut a, &mut b], &options(Steps::Auto, 5))).unwrap_err();
    assert!(matches!(error, GenerateError::NotTogether), "{error}");
    let mut empty = block_on(one.session()).unwrap();
    let error = block_on(generate_together(&mut [&mut a, &mut empty], &options(Steps::Auto, 5))).unwrap_err();
    assert!(error.to_string().contains("no token"), "{error}");
    assert!(block_on(generate_together(&mut [], &options(Steps::Auto, 5))).unwrap().is_empty());
    // More texts than logits fit: the error names the number that would.
    let policy = segments().resolve(model.config()).unwrap();
    let error = block_on(Pool::new(
        &model,
        &policy,
        SessionOptions { chunk: 16, in_flight: X, ..SessionOptions::default() },
        1000,
    ))
    .unwrap_err()
    .to_string();
    assert!(error.contains("1000 texts") && error.contains("16"), "{error}");
}

#[test]
fn a_generation_goes_on_with_its_own_session_alone() {
    let model = model();
    let mut session = session(&model, &segments());
    read(&mut session, 0);
    let mut other = begun_elsewhere(&model, &segments());
    let mut generation = session.start(options(Steps::Fixed(4), 20)).unwrap();
    let first = block_on(generation.next_token(&mut session)).unwrap().unwrap();
    let error = block_on(generation.next_token(&mut other)).unwrap_err();
    assert!(matches!(error, GenerateError::NotItsTurn), "{error}");
    assert!(
        block_on(generation.next_token(&mut session)).unwrap().is_none(),
        "after an error nothing follows"
    );

    // A session that has gone on by itself is no longer the generation's.
    let mut generation = session.start(options(Steps::Fixed(4), 20)).unwrap();
    block_on(generation.next_token(&mut session)).unwrap().unwrap();
    block_on(session.append(&[5])).unwrap();
    let error = block_on(generation.next_token(&mut session)).unwrap_err();
    assert!(matches!(error, GenerateError::NotItsTurn), "{error}");
    assert_ne!(first.id, u32::MAX);
}

/// What was begun before and is still held must not come in the way of what is begun after.
#[test]
fn a_generation_that_is_still_held_leaves_its_session_usable() {
    let model = model();
    for first in [Steps::Fixed(4), Steps::OnHost] {
        let (want, ..) = alone(&model, &segments(), 0, &options(Steps::Fixed(4), 12));
        let mut session = session(&model, &segments());
        read(&mut session, 0);
        let mut held = session.start(options(first, 20)).unwrap();
        let drawn = block_on(held.next_token(&mut session)).unwrap().unwrap();
        let mut next = session.start(options(Steps::Fixed(4), 11)).unwrap();
        let mut got = vec![drawn];
        while let Some(token) = block_on(next.next_token(&mut session)).unwrap() {
            got.push(token);
        }
        assert_eq!(got, want, "after {first:?}");
        block_on(session.next_logits()).unwrap();
        assert!(matches!(block_on(held.next_token(&mut session)), Err(GenerateError::NotItsTurn)));
    }
}

#[test]
fn one_loop_over_several_texts_of_a_pool_runs_at_a_time() {
    let model = model();
    let pool = pool(&model, &segments(), 4);
    let mut sessions: Vec<Session> = (0..4).map(|i| begun(&pool, i)).collect();
    let want: Vec<_> =
        (0..4).map(|i| alone(&model, &segments(), i, &options(Steps::Fixed(1), 15)).0).collect();
    let [a, b, c, d] = &mut sessions[..] else { unreachable!() };
    let (mut left, mut right) = ([a, b], [c, d]);
    let wanted = options(Steps::Fixed(1), 15);
    {
        // Late reads, so that the first is under way when the second is asked for.
        model.gpu().delay_reads(std::time::Duration::from_millis(20));
        let mut first = std::pin::pin!(generate_together(&mut left, &wanted));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        let error = block_on(generate_together(&mut right, &wanted)).unwrap_err();
        assert!(matches!(error, GenerateError::PoolBusy), "{error}");
        let got: Vec<_> = block_on(first).unwrap().into_iter().map(|text| text.tokens).collect();
        model.gpu().delay_reads(std::time::Duration::ZERO);
        assert_eq!(got, want[..2]);
    }
    let got: Vec<_> =
        block_on(generate_together(&mut right, &wanted)).unwrap().into_iter().map(|t| t.tokens).collect();
    assert_eq!(got, want[2..]);
}

/// The least that may be in flight: one step, and so one spare slot.
#[test]
fn with_one_step_in_flight_the_device_is_never_two_ahead() {
    let model = model();
    let policy = segments().resolve(model.config()).unwrap();
    let pool = block_on(Pool::new(
        &model,
        &policy,
        SessionOptions { chunk: 16, in_flight: 1, ..SessionOptions::default() },
        2,
    ))
    .unwrap();
    let mut sessions: Vec<Session> = (0..2).map(|i| begun(&pool, i)).collect();
    let mut rows: Vec<&mut Session> = sessions.iter_mut().collect();
    let got = block_on(generate_together(&mut rows, &options(Steps::Auto, 20))).unwrap();
    for (i, got) in got.into_iter().enumerate() {
        assert_eq!(got.tokens, alone(&model, &segments(), i, &options(Steps::Fixed(4), 20)).0);
    }
}
