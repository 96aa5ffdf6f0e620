//! The decode loop on the device against one step at a time on the host: the same tokens, whatever the batch, and nothing left
//! of what was drawn too far.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod steps;
}

use std::sync::Arc;

use killick::kv::{PolicySpec, Preset};
use killick::model::Model;
use killick::{GenerateOptions, Sampler, SamplerOptions, Steps, StopReason};
use pollster::block_on;
use support::bounds::bound;
use support::gpu::share;
use support::steps::{ids, model, modes, options, prompt, session};

/// Every policy, with bounds so small that all of them act within a few dozen tokens.
fn specs() -> [PolicySpec; 6] {
    let ids = Some((0..321).step_by(7).collect::<Vec<u32>>());
    [
        PolicySpec::new(Preset::Full),
        PolicySpec {
            anchors: ids.clone(),
            max_anchors: Some(5),
            max_segment: Some(9),
            ..PolicySpec::new(Preset::Anchor)
        },
        PolicySpec {
            anchors: ids,
            window: Some(6),
            max_anchors: Some(4),
            max_distance: Some(40),
            ..PolicySpec::new(Preset::SepLlm)
        },
        PolicySpec { window: Some(11), ..PolicySpec::new(Preset::Streaming) },
        PolicySpec { window: Some(8), ..PolicySpec::new(Preset::Window) },
        PolicySpec {
            anchors: Some(vec![3, 30]),
            not_after: Some((0..321).step_by(3).collect()),
            sinks: Some(4),
            window: Some(3),
            max_segment: Some(7),
            isolated: Some(false),
            ..PolicySpec::new(Preset::Anchor)
        },
    ]
}

/// How the prompt reaches the session and how long the answer is does not matter here: one is a chunk, one a turn.
fn turns() -> Vec<Vec<u32>> {
    (0..10_u32).map(|turn| (0..5 + turn % 4).map(|i| (turn * 31 + i * 17 + 2) % 321).collect()).collect()
}

#[test]
fn every_batch_size_gives_the_tokens_of_single_steps() {
    let model = model();
    let tokens = share(70, 36);
    for spec in specs() {
        let mut want = Vec::new();
        for steps in modes().into_iter().take(share(5, 4)) {
            let mut session = session(&model, &spec);
            block_on(session.append(&prompt())).unwrap();
            let got = ids(&mut session, options(steps, tokens as u32));
            if want.is_empty() {
                want = got;
                assert!(want.iter().collect::<std::collections::BTreeSet<_>>().len() > 10, "{want:?}");
            } else {
                assert_eq!(got, want, "{} with {steps:?}", spec.preset);
            }
            assert_eq!(session.kv().seen as usize, 37 + tokens - 1, "the last token is pending");
            assert_eq!(session.pending(), want.last().copied());
        }
    }
}

/// How many tokens the host draws before one that a rounding could have changed. The vocabulary is nearly as likely as not here,
/// token by token, so that happens.
fn certain(model: &Arc<Model>, spec: &PolicySpec, options: &SamplerOptions, most: usize) -> usize {
    let mut session = session(model, spec);
    block_on(session.append(&prompt())).unwrap();
    let sampler = Sampler::new(options.clone(), 321, &session.policy().anchors).unwrap();
    let mut text = prompt();
    let mut logits = block_on(session.next_logits()).unwrap();
    for count in 0..most {
        let draw = sampler.sample(&logits, &text, text.len() as u32);
        if draw.margin < bound("margin of a draw") {
            println!("a draw too close to call after {count} tokens: {:e}", draw.margin);
            assert!(count >= 10, "too early for a test");
            return count;
        }
        text.push(draw.id);
        logits = block_on(session.step_logits(draw.id)).unwrap();
    }
    most
}

/// Draws, penalties, bias and bans: the twins on the host choose the same tokens, and report the same probabilities.
#[test]
fn the_sampler_on_the_device_draws_what_the_host_draws() {
    let model = model();
    let spec = &specs()[1];
    let chains = [
        SamplerOptions { temperature: 1.0, ..SamplerOptions::default() },
        SamplerOptions { temperature: 2.5, top_k: 40, top_p: 0.9, min_p: 0.01, ..SamplerOptions::default() },
        SamplerOptions {
            temperature: 0.8,
            repetition_penalty: 1.3,
            frequency_penalty: 0.2,
            presence_penalty: 0.1,
            penalty_last_n: 20,
            ..SamplerOptions::default()
        },
        SamplerOptions {
            temperature: 1.5,
            logit_bias: vec![(5, 3.0), (9, -2.0)],
            banned: (0..40).collect(),
            ..SamplerOptions::default()
        },
        SamplerOptions { repetition_penalty: 5.0, ..SamplerOptions::default() },
        SamplerOptions { temperature: 1.0, seed: 77, ..SamplerOptions::default() },
    ];
    let mut texts = std::collections::BTreeSet::new();
    let most = share(chains.len(), 3);
    for sampler in chains.into_iter().rev().take(most) {
        let run = |steps| {
            let mut session = session(&model, spec);
            block_on(session.append(&prompt())).unwrap();
            let sampler = SamplerOptions { logprobs: 3, ..sampler.clone() };
            let options = GenerateOptions { sampler, ..options(steps, 60) };
            session.generate(options).unwrap().map(Result::unwrap).collect::<Vec<_>>()
        };
        let want = run(Steps::Fixed(1));
        for steps in [Steps::Fixed(4), Steps::Fixed(16), Steps::Auto] {
            assert_eq!(run(steps), want, "{sampler:?} with {steps:?}");
        }
        for (got, want) in run(Steps::OnHost).iter().zip(&want).take(certain(&model, spec, &sampler, 60)) {
            assert_eq!(got.id, want.id, "{sampler:?} on the host");
            let (got, want) = (got.logprobs.as_ref().unwrap(), want.logprobs.as_ref().unwrap());
            let close =
                |got: f32, want: f32| f64::from(got - want).abs() < bound("nats of a token of a tiny model");
            assert!(close(got.chosen, want.chosen), "{got:?} {want:?}");
            assert_eq!(got.top.len(), 3);
            for (got, want) in got.top.iter().zip(&want.top) {
                assert!(got.0 == want.0 && close(got.1, want.1), "{got:?} {want:?}");
            }
        }
        let ids: Vec<u32> = want.iter().map(|token| token.id).collect();
        assert!(!sampler.banned.iter().any(|id| ids.contains(id)), "a banned token was drawn");
        texts.insert(ids);
    }
    assert_eq!(texts.len(), most, "every setting must act");
}

/// A penalty that would keep every recent token away leaves those alone that end the text, on the device and on the host.
#[test]
fn penalties_spare_what_ends_a_text() {
    let model = model();
    let spec = &specs()[0];
    let likeliest = {
        let mut session = session(&model, spec);
        block_on(session.append(&prompt())).unwrap();
        ids(&mut session, options(Steps::Fixed(1), 1))[0]
    };
    // The token is part of the text already, and then the likeliest to come again.
    let text = [&[likeliest], &prompt()[1..]].concat();
    let sampler = SamplerOptions {
        presence_penalty: 1000.0,
        logit_bias: vec![(likeliest, 500.0)],
        ..SamplerOptions::default()
    };
    for steps in [Steps::Fixed(4), Steps::OnHost] {
        let run = |stop_tokens: Vec<u32>, unpenalized: Vec<u32>| {
            let mut session = session(&model, spec);
            block_on(session.append(&text)).unwrap();
            let sampler = SamplerOptions { unpenalized, ..sampler.clone() };
            ids(&mut session, GenerateOptions { stop_tokens, sampler, ..options(steps, 3) })
        };
        assert!(!run(vec![], vec![]).contains(&likeliest), "{steps:?}");
        assert_eq!(run(vec![likeliest], vec![]), [likeliest], "{steps:?}");
        assert_eq!(run(vec![], vec![likeliest]), [likeliest; 3], "{steps:?}");
    }
}

#[test]
fn a_text_stopped_in_a_batch_goes_on_as_if_nothing_had_run_ahead() {
    let model = model();
    for spec in specs() {
        for cut in [17, 2].into_iter().take(share(2, 1)) {
            let run = |steps| {
                let mut session = session(&model, &spec);
                block_on(session.append(&prompt())).unwrap();
                let mut generation = session.generate(options(steps, 200)).unwrap();
                let mut text: Vec<u32> = generation.by_ref().take(cut).map(|t| t.unwrap().id).collect();
                generation.stop();
                assert_eq!(generation.stop_reason(), Some(StopReason::Stop));
                drop(generation);
                let seen = session.kv().seen;
                // Go on in three ways: more text from outside, a second generation, single steps.
                block_on(session.append(&[17, 4])).unwrap();
                text.extend(ids(&mut session, options(steps, 9)));
                text.extend(ids(&mut session, options(steps, 20)));
                text.push(block_on(session.next_greedy()).unwrap());
                (text, seen, session.kv())
            };
            let want = run(Steps::OnHost);
            for steps in [Steps::Fixed(16), Steps::Fixed(5)] {
                assert_eq!(run(steps), want, "{} cut after {cut} with {steps:?}", spec.preset);
            }
        }
    }
}

#[test]
fn stops_that_the_device_sees_end_the_text_there() {
    let model = model();
    let spec = &specs()[1];
    let start = |steps, stop_tokens: Vec<u32>, max_tokens| {
        let mut session = session(&model, spec);
        block_on(session.append(&prompt())).unwrap();
        let options = GenerateOptions { stop_tokens, ..options(steps, max_tokens) };
        let mut generation = session.generate(options).unwrap();
        let ids: Vec<u32> = generation.by_ref().map(|token| token.unwrap().id).collect();
        let reason = generation.stop_reason().unwrap();
        (ids, reason, block_on(session.next_greedy()).unwrap())
    };
    let (free, reason, _) = start(Steps::OnHost, vec![], 60);
    assert_eq!(reason, StopReason::MaxTokens);
    let stop = free[23];
    let first = free.iter().position(|id| *id == stop).unwrap();
    let want = start(Steps::OnHost, vec![stop], 60);
    assert_eq!((want.0.len(), want.1), (first + 1, StopReason::Stop));
    for steps in modes() {
        assert_eq!(start(steps, vec![stop], 60), want, "{steps:?}");
    }
}

#[test]
fn full_ends_at_its_capacity_with_every_batch_size() {
    let model = model();
    let spec = PolicySpec { ctx: Some(50), ..PolicySpec::new(Preset::Full) };
    for steps in modes() {
        let mut session = session(&model, &spec);
        block_on(session.append(&prompt())).unwrap();
        let mut generation = session.generate(options(steps, 60)).unwrap();
        // 13 positions are left, and the last token of all is never consumed.
        assert_eq!(generation.by_ref().map(Result::unwrap).count(), 14, "{steps:?}");
        assert_eq!(generation.stop_reason(), Some(StopReason::ContextFull), "{steps:?}");
        drop(generation);
        assert_eq!((session.kv().seen, session.remaining()), (50, 0), "{steps:?}");
        let mut after = session.generate(options(steps, 5)).unwrap();
        assert!(after.next().is_none(), "{steps:?}");
        assert_eq!(after.stop_reason(), Some(StopReason::ContextFull), "{steps:?}");
    }
}

#[test]
fn a_cancelled_text_keeps_what_is_under_way() {
    let model = model();
    let mut whole = session(&model, &specs()[1]);
    block_on(whole.append(&prompt())).unwrap();
    let want = ids(&mut whole, options(Steps::OnHost, 80));
    let mut session = session(&model, &specs()[1]);
    block_on(session.append(&prompt())).unwrap();
    let mut generation = session.generate(options(Steps::Fixed(8), 80)).unwrap();
    let mut got: Vec<u32> = generation.by_ref().take(3).map(|token| token.unwrap().id).collect();
    generation.cancel();
    got.extend(generation.by_ref().map(|token| token.unwrap().id));
    assert_eq!(generation.stop_reason(), Some(StopReason::Cancelled));
    // The batch being given out, and two that were under way.
    assert!(got.len() > 3 && got.len() <= 1 + 3 * 8, "{} tokens", got.len());
    drop(generation);
    got.extend(ids(&mut session, options(Steps::Fixed(8), 80 - got.len() as u32)));
    assert_eq!(got, want);
}

#[test]
fn a_fork_goes_its_own_way() {
    let model = model();
    for spec in specs().into_iter().rev().take(share(6, 2)) {
        let mut trunk = session(&model, &spec);
        block_on(trunk.append(&prompt())).unwrap();
        // From a prompt, and from the middle of a text with a token pending.
        for round in 0..2 {
            let mut branch = block_on(trunk.fork()).unwrap();
            let mut control = block_on(trunk.fork()).unwrap();
            block_on(branch.append(&[9, 8, 7, 6, 5, 4, 3, 2, 1])).unwrap();
            let other = ids(&mut branch, options(Steps::Auto, 40));
            let same = ids(&mut control, options(Steps::Fixed(3), 40));
            assert_eq!(ids(&mut trunk, options(Steps::Auto, 40)), same, "{} round {round}", spec.preset);
            assert_ne!(other, same, "{} round {round}", spec.preset);
            assert_eq!(trunk.kv(), control.kv());
        }
    }
    let mut narrow = session(&model, &specs()[4]);
    let error = narrow.copy_from(&session(&model, &specs()[3])).unwrap_err();
    assert!(error.to_string().contains("same model, policy and options"), "{error}");
}

#[test]
fn anchors_are_listed_with_what_they_stand_for() {
    let model = model();
    let spec =
        PolicySpec { anchors: Some(vec![300]), max_anchors: Some(3), ..PolicySpec::new(Preset::Anchor) };
    let mut session = session(&model, &spec);
    block_on(session.append(&[300, 1, 2, 300, 3, 300, 4, 5, 6, 300, 7])).unwrap();
    let spans: Vec<_> = session.anchors().map(|a| (a.number, a.start, a.pos)).collect();
    assert_eq!(spans, [(1, 1, 3), (2, 4, 5), (3, 6, 9)]);
    session.reset().unwrap();
    assert_eq!(session.anchors().count(), 0);
}

#[test]
fn nothing_to_continue_is_an_error() {
    let model = model();
    let mut session = session(&model, &specs()[0]);
    let error = session.generate(options(Steps::Auto, 5)).unwrap_err();
    assert!(error.to_string().contains("no token"), "{error}");
    block_on(session.append(&[1])).unwrap();
    let outside = GenerateOptions { stop_tokens: vec![321], ..options(Steps::Auto, 5) };
    assert!(session.generate(outside).unwrap_err().to_string().contains("321"));
}

/// Ten turns on one ring equal, each of them, a session that reads everything again; and the ring read every token once.
#[test]
fn turns_on_a_live_ring_equal_one_prompt_with_the_same_text() {
    let model = model();
    for spec in [&specs()[0], &specs()[1], &specs()[2]] {
        let mut live = session(&model, spec);
        let mut text: Vec<u32> = Vec::new();
        for turn in turns() {
            block_on(live.append(&turn)).unwrap();
            text.extend(&turn);
            let answer = ids(&mut live, options(Steps::Auto, 9));
            let mut afresh = session(&model, spec);
            block_on(afresh.append(&text)).unwrap();
            assert_eq!(
                answer,
                ids(&mut afresh, options(Steps::Fixed(4), 9)),
                "{} after {} tokens",
                spec.preset,
                text.len()
            );
            text.extend(answer);
            assert_eq!(live.kv().seen as usize, text.len() - 1, "nothing was read twice");
        }
        assert!(text.len() > 130);
    }
}

#[test]
fn the_stream_gives_the_tokens_of_the_iterator() {
    use futures_core::Stream;
    let model = model();
    let tokens = |stream: bool| {
        let mut session = session(&model, &specs()[2]);
        block_on(session.append(&prompt())).unwrap();
        let mut generation = session.generate(options(Steps::Auto, 20)).unwrap();
        if !stream {
            return generation.map(|token| token.unwrap().id).collect::<Vec<_>>();
        }
        let mut ids = Vec::new();
        let mut pinned = std::pin::pin!(&mut generation);
        while let Some(token) = block_on(std::future::poll_fn(|cx| pinned.as_mut().poll_next(cx))) {
            ids.push(token.unwrap().id);
        }
        ids
    };
    assert_eq!(tokens(true), tokens(false));
}

/// What two texts do in turns, or at once in two threads, is what each does alone, although their passes run in the same scratch.
#[test]
fn texts_of_a_model_do_not_disturb_each_other() {
    let model = model();
    let spec = PolicySpec {
        anchors: Some(vec![3, 30]),
        max_anchors: Some(5),
        max_segment: Some(7),
        ..PolicySpec::new(Preset::Anchor)
    };
    let prompts: [Vec<u32>; 2] = [prompt(), (0..23_u32).map(|i| (i * 17 + 3) % 321).collect()];
    let text = |prompt: &[u32]| {
        let mut session = session(&model, &spec);
        block_on(session.append(prompt)).unwrap();
        ids(&mut session, options(Steps::Fixed(4), 60))
    };
    let alone = [0, 1].map(|i| text(&prompts[i]));
    assert_ne!(alone[0], alone[1]);

    let mut sessions = [0, 1].map(|_| session(&model, &spec));
    // A prompt in two pieces each, so that the last hidden state of one lies there while the other's pass runs.
    for part in [0, 1] {
        for (session, prompt) in sessions.iter_mut().zip(&prompts) {
            let half = prompt.len() / 2;
            let piece = if part == 0 { &prompt[..half] } else { &prompt[half..] };
            block_on(session.append(piece)).unwrap();
        }
    }
    let mut turns: Vec<_> =
        sessions.iter_mut().map(|session| session.generate(options(Steps::Fixed(4), 60)).unwrap()).collect();
    let mut got = [Vec::new(), Vec::new()];
    for _ in 0..60 {
        for (generation, ids) in turns.iter_mut().zip(&mut got) {
            ids.push(generation.next().unwrap().unwrap().id);
        }
    }
    assert_eq!(got, alone, "in turns");

    let text = &text;
    let at_once = std::thread::scope(|scope| {
        prompts
            .each_ref()
            .map(|prompt| scope.spawn(move || text(prompt)))
            .map(|thread| thread.join().unwrap())
    });
    assert_eq!(at_once, alone, "at once");
}
