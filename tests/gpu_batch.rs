//! A batch: texts of one pool with settings of their own, which come and go while others run. Each gets what it would get alone.

mod support {
    pub mod bounds;
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod steps;
}

use std::collections::BTreeMap;
use std::sync::Arc;

use killick::generate::GenerateError;
use killick::kv::{AtMaxSegment, PolicySpec, Preset};
use killick::model::Model;
use killick::{
    Batch, BatchEvent, GenerateOptions, Pool, SamplerOptions, Session, Steps, StopReason, TextId, Token,
};
use pollster::block_on;
use support::bounds::bound;
use support::gpu::share;
use support::steps::{model, pool, prompt, session};

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
        PolicySpec { ctx: Some(64), ..PolicySpec::new(Preset::Full) },
        PolicySpec { window: Some(6), max_distance: Some(40), sinks: Some(2), ..segments() },
        PolicySpec { max_segment: Some(30), at_max_segment: Some(AtMaxSegment::Error), ..segments() },
        PolicySpec { window: Some(8), ..PolicySpec::new(Preset::Window) },
    ]
}

/// Text i reads a prompt of its own length; every third has drawn a token already, which is pending.
fn read(session: &mut Session, i: usize) {
    let ids: Vec<u32> =
        prompt().into_iter().skip(i).take(30 - 4 * (i % 6)).chain([7 * i as u32 % 321]).collect();
    block_on(session.append(&ids)).unwrap();
    if i % 3 == 2 {
        let one = GenerateOptions { max_tokens: 1, ignore_eos: true, ..GenerateOptions::default() };
        assert_eq!(session.generate(one).unwrap().map(Result::unwrap).count(), 1);
    }
}

fn begun(pool: &Arc<Pool>, i: usize) -> Session {
    let mut session = block_on(pool.session()).unwrap();
    read(&mut session, i);
    session
}

/// Settings of text i: no two are alike.
fn options(i: usize) -> GenerateOptions {
    let off = SamplerOptions::default;
    let samplers = [
        SamplerOptions { logprobs: 2, ..off() },
        SamplerOptions { temperature: 1.0, seed: 5, ..off() },
        SamplerOptions {
            temperature: 1.2,
            repetition_penalty: 1.3,
            penalty_last_n: 20,
            logit_bias: vec![(5, 2.0)],
            seed: 1 << 40,
            ..off()
        },
        SamplerOptions { frequency_penalty: 0.9, presence_penalty: 0.4, penalty_last_n: 200, ..off() },
        SamplerOptions { temperature: 0.8, top_k: 12, min_p: 0.02, seed: 77, logprobs: 5, ..off() },
        SamplerOptions { banned: (0..300).collect(), logprobs: 1, ..off() },
        SamplerOptions { temperature: 2.0, top_p: 0.6, banned: vec![3, 320], seed: 6, ..off() },
        off(),
    ];
    GenerateOptions {
        max_tokens: [40, 33, 27, 40, 18, 5, 36, 1][i % 8],
        ignore_eos: i.is_multiple_of(2),
        stop_tokens: if i % 4 == 1 { (60..75).collect() } else { Vec::new() },
        sampler: samplers[i % 8].clone(),
        steps: Steps::Fixed(4),
        ..GenerateOptions::default()
    }
}

/// Tokens of a text and why it ended.
type Told = (Vec<Token>, Option<StopReason>);

/// The text alone, in a session of its own, and what it goes on with after that.
fn alone(model: &Arc<Model>, spec: &PolicySpec, i: usize, options: &GenerateOptions) -> (Told, Vec<u32>) {
    let mut session = session(model, spec);
    read(&mut session, i);
    let mut generation = session.generate(options.clone()).unwrap();
    let tokens = generation.by_ref().map(Result::unwrap).collect();
    let reason = generation.stop_reason();
    drop(generation);
    ((tokens, reason), afterwards(&mut session))
}

/// A few more tokens after one from outside, if there is room.
fn afterwards(session: &mut Session) -> Vec<u32> {
    if session.remaining() < 8 || block_on(session.append(&[21])).is_err() {
        return Vec::new();
    }
    let few = GenerateOptions { max_tokens: 4, ignore_eos: true, ..GenerateOptions::default() };
    session.generate(few).unwrap().map(|token| token.unwrap().id).collect()
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// What a batch has told so far.
#[derive(Default)]
struct Log {
    tokens: BTreeMap<TextId, Vec<Token>>,
    ended: BTreeMap<TextId, (Session, Result<StopReason, GenerateError>)>,
}

impl Log {
    /// Takes in the next event; whether there was one.
    fn next(&mut self, batch: &mut Batch) -> bool {
        match block_on(batch.next_event()).unwrap() {
            None => return false,
            Some(BatchEvent::Piece { id, piece }) => self.tokens.entry(id).or_default().extend(piece.token),
            Some(BatchEvent::Ended { id, session, end }) => {
                assert!(self.ended.insert(id, (session, end)).is_none(), "{id} ended twice");
            }
        }
        true
    }

    fn tokens(&self, id: TextId) -> &[Token] {
        self.tokens.get(&id).map_or(&[], Vec::as_slice)
    }

    fn told(&mut self, id: TextId) -> (Told, Session) {
        let (session, end) = self.ended.remove(&id).unwrap();
        ((self.tokens.remove(&id).unwrap_or_default(), end.ok()), session)
    }
}

fn check_logprobs(got: &[Token], want: &[Token]) {
    for (got, want) in got.iter().zip(want) {
        let (Some(got), Some(want)) = (&got.logprobs, &want.logprobs) else {
            assert_eq!(got.logprobs.is_some(), want.logprobs.is_some());
            continue;
        };
        let nats = f64::from((got.chosen - want.chosen).abs());
        assert!(nats < bound("nats of a token of a tiny model"), "{got:?} {want:?}");
        assert_eq!(got.top.len(), want.top.len());
    }
}

#[test]
fn texts_with_settings_of_their_own_get_the_tokens_of_their_lone_runs() {
    let model = model();
    let mut reasons = Vec::new();
    for (round, spec) in specs().into_iter().enumerate().take(share(5, 2)) {
        let steps = [Steps::Fixed(5), Steps::Auto, Steps::Fixed(16)][round % 3];
        let wanted: Vec<_> = (0..8).map(options).collect();
        let want: Vec<_> = (0..8).map(|i| alone(&model, &spec, i, &wanted[i])).collect();
        let pool = pool(&model, &spec, 9);
        let run = |options: &[GenerateOptions]| {
            let mut batch = Batch::new(&pool, steps).unwrap();
            let ids: Vec<_> =
                (0..8).map(|i| batch.add(begun(&pool, i), options[i].clone()).unwrap()).collect();
            let mut log = Log::default();
            while log.next(&mut batch) {}
            assert!(batch.is_empty());
            ids.into_iter().map(|id| log.told(id)).collect::<Vec<_>>()
        };
        for (i, ((told, mut session), (want, after))) in run(&wanted).into_iter().zip(&want).enumerate() {
            let case = format!("text {i} under {} with {:?}", spec.preset, wanted[i]);
            assert_eq!((ids(&told.0), told.1), (ids(&want.0), want.1), "{case}");
            check_logprobs(&told.0, &want.0);
            assert_eq!(&afterwards(&mut session), after, "{case}: what comes next");
            reasons.extend(told.1);
        }
        // The settings of any two swapped show in their tokens.
        for (a, b) in [(0, 1), (1, 2), (3, 4), (5, 6), (2, 7)] {
            let mut swapped = wanted.clone();
            swapped.swap(a, b);
            let got = run(&swapped);
            for text in [a, b] {
                assert_ne!(ids(&got[text].0.0), ids(&want[text].0.0), "settings of {a} and {b} swapped");
            }
        }
    }
    for reason in [StopReason::Stop, StopReason::MaxTokens, StopReason::ContextFull] {
        assert!(reasons.contains(&reason), "no text ended by {reason:?}: {reasons:?}");
    }
}

/// Texts join in the middle of the runs of others, into rows that others have left, for as long as places are free.
#[test]
fn texts_come_and_go_while_others_run() {
    let model = model();
    for spec in specs().into_iter().take(share(5, 2)) {
        let texts = 14;
        let want: Vec<_> = (0..texts).map(|i| alone(&model, &spec, i, &options(i))).collect();
        for steps in [Steps::Fixed(3), Steps::Auto].into_iter().take(share(2, 1)) {
            let pool = pool(&model, &spec, 4);
            let mut batch = Batch::new(&pool, steps).unwrap();
            let (mut log, mut names) = (Log::default(), Vec::new());
            loop {
                while names.len() < texts && pool.free() > 0 {
                    let i = names.len();
                    names.push(batch.add(begun(&pool, i), options(i)).unwrap());
                }
                let before = log.ended.len();
                if !log.next(&mut batch) {
                    break;
                }
                if log.ended.len() > before {
                    // Its place is free for the next, once it was seen that it is as it should be.
                    let id = *log.ended.keys().next().unwrap();
                    let i = names.iter().position(|name| *name == id).unwrap();
                    let (told, mut session) = log.told(id);
                    let (want, after) = &want[i];
                    assert_eq!(
                        (ids(&told.0), told.1),
                        (ids(&want.0), want.1),
                        "text {i} under {}",
                        spec.preset
                    );
                    check_logprobs(&told.0, &want.0);
                    assert_eq!(&afterwards(&mut session), after, "text {i}: what comes next");
                }
            }
            assert_eq!((names.len(), pool.free()), (texts, 4));
        }
    }
}

/// Called off, stopped, taken out: the others do not notice, and the text stands at the last token that was given out.
#[test]
fn a_text_is_taken_out_and_the_others_go_on() {
    let model = model();
    let spec = segments();
    let free = |i: usize| GenerateOptions {
        max_tokens: 40,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        ..options(i)
    };
    for (steps, after) in
        [(Steps::Fixed(4), 7), (Steps::Fixed(16), 3), (Steps::Fixed(1), 12), (Steps::Auto, 0)]
    {
        let want: Vec<_> = (0..5).map(|i| alone(&model, &spec, i, &free(i)).0.0).collect();
        let pool = pool(&model, &spec, 5);
        let mut batch = Batch::new(&pool, steps).unwrap();
        let names: Vec<_> = (0..5).map(|i| batch.add(begun(&pool, i), free(i)).unwrap()).collect();
        let mut log = Log::default();
        // The text that has a token to consume begins first, so no other is far ahead of it.
        while log.tokens(names[2]).len() < after {
            log.next(&mut batch);
        }
        batch.cancel(names[0]);
        batch.stop(names[2]);
        let mut out = batch.remove(names[3]).unwrap();
        assert!(batch.remove(names[3]).is_none() && batch.session(names[3]).is_none());
        assert_eq!((batch.len(), batch.ids().count()), (4, 4));
        // It goes on alone while the others run.
        let had = log.tokens(names[3]).len();
        assert_eq!(ids(log.tokens(names[3])), ids(&want[3])[..had]);
        let rest = GenerateOptions { max_tokens: 40 - had as u32, ..free(3) };
        let rest: Vec<_> = out.generate(rest).unwrap().map(Result::unwrap).collect();
        assert_eq!(ids(&rest), ids(&want[3])[had..], "after {had}");
        while log.next(&mut batch) {}
        for (i, reason, most) in [
            (0, StopReason::Cancelled, 40),
            (2, StopReason::Stop, after),
            (1, StopReason::MaxTokens, 40),
            (4, StopReason::MaxTokens, 40),
        ] {
            let ((tokens, end), mut session) = log.told(names[i]);
            assert_eq!(end, Some(reason), "text {i}");
            assert!(tokens.len() <= most && (most < 40 || i == 0 || tokens.len() == 40), "{}", tokens.len());
            assert_eq!(ids(&tokens), ids(&want[i])[..tokens.len()], "text {i}");
            // What the device had drawn beyond it is drawn again.
            let rest = GenerateOptions { max_tokens: 40 - tokens.len() as u32, ..free(i) };
            let rest: Vec<_> = session.generate(rest).unwrap().map(Result::unwrap).collect();
            assert_eq!(ids(&rest), ids(&want[i])[tokens.len()..], "text {i} after {}", tokens.len());
        }
    }
}

#[test]
fn a_dropped_batch_leaves_its_sessions_usable() {
    let model = model();
    let spec = segments();
    let all = |i: usize| GenerateOptions {
        max_tokens: 30,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        ..options(i)
    };
    let want: Vec<_> = (0..3).map(|i| ids(&alone(&model, &spec, i, &all(i)).0.0)).collect();
    for events in [0, 1, 2, 10, 25] {
        let pool = pool(&model, &spec, 3);
        let mut sessions: Vec<Session> = (0..3).map(|i| begun(&pool, i)).collect();
        let mut got = vec![Vec::new(); 3];
        {
            let mut batch: Batch<&mut Session> = Batch::new(&pool, Steps::Fixed(8)).unwrap();
            assert!(matches!(Batch::<Session>::new(&pool, Steps::Auto), Err(GenerateError::PoolBusy)));
            let names: Vec<_> =
                sessions.iter_mut().enumerate().map(|(i, text)| batch.add(text, all(i)).unwrap()).collect();
            for _ in 0..events {
                let event = block_on(batch.next_event()).unwrap();
                let Some(BatchEvent::Piece { id, piece }) = event else { panic!("{event:?}") };
                let text = names.iter().position(|name| *name == id).unwrap();
                got[text].extend(piece.token.map(|token| token.id));
            }
        }
        // The texts go on in a batch and alone.
        let mut batch: Batch<&mut Session> = Batch::new(&pool, Steps::Fixed(5)).unwrap();
        let [a, b, c] = &mut sessions[..] else { unreachable!() };
        let rest = |i: usize, had: &[u32]| GenerateOptions { max_tokens: 30 - had.len() as u32, ..all(i) };
        let names = [batch.add(a, rest(0, &got[0])).unwrap(), batch.add(c, rest(2, &got[2])).unwrap()];
        while let Some(event) = block_on(batch.next_event()).unwrap() {
            let BatchEvent::Piece { id, piece } = event else { continue };
            got[if id == names[0] { 0 } else { 2 }].extend(piece.token.map(|token| token.id));
        }
        let last = rest(1, &got[1]);
        got[1].extend(b.generate(last).unwrap().map(|token| token.unwrap().id));
        assert_eq!(got, want, "dropped after {events} events");
    }
}

#[test]
fn what_a_batch_does_not_take_comes_back() {
    let model = model();
    let (one, other) = (pool(&model, &segments(), 2), pool(&model, &segments(), 1));
    let mut batch = Batch::new(&one, Steps::Auto).unwrap();
    assert!(block_on(batch.next_event()).unwrap().is_none(), "nothing happens without a text");
    let refused = batch.add(begun(&other, 0), options(0)).unwrap_err();
    assert!(matches!(refused.error, GenerateError::NotTogether), "{refused}");
    let mut session = refused.session;
    assert!(!session.generate(options(0)).unwrap().map(Result::unwrap).collect::<Vec<_>>().is_empty());
    let refused = batch.add(block_on(one.session()).unwrap(), options(0)).unwrap_err();
    assert!(refused.to_string().contains("no token"), "{refused}");
    let wrong = |change: fn(&mut GenerateOptions)| {
        let mut options = options(0);
        change(&mut options);
        options
    };
    for (options, what) in [
        (wrong(|o| o.sampler.temperature = -1.0), "temperature is -1"),
        (wrong(|o| o.stop_tokens = vec![321]), "321"),
        (wrong(|o| o.sampler.banned = vec![999]), "999"),
    ] {
        let refused = batch.add(begun(&one, 1), options).unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
    }
    // A text that is to have no token has ended at once.
    let id = batch.add(begun(&one, 0), wrong(|o| o.max_tokens = 0)).unwrap();
    let event = block_on(batch.next_event()).unwrap().unwrap();
    let BatchEvent::Ended { id: ended, end: Ok(StopReason::MaxTokens), .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!((ended, id.to_string()), (id, "0".to_owned()));
}

/// In a pool of one the loop is the session's own, which may be used alone between two stays in the batch.
#[test]
fn a_batch_over_a_pool_of_one_is_a_lone_text() {
    let model = model();
    let all =
        |max_tokens| GenerateOptions { max_tokens, stop_tokens: Vec::new(), ignore_eos: true, ..options(2) };
    let want = ids(&alone(&model, &segments(), 0, &all(30)).0.0);
    let pool = pool(&model, &segments(), 1);
    let mut session = begun(&pool, 0);
    let mut batch = Batch::new(&pool, Steps::Fixed(4)).unwrap();
    let mut got = Vec::new();
    while got.len() < 30 {
        let id = batch.add(session, all(30 - got.len() as u32)).unwrap();
        for _ in 0..3 {
            if let Some(BatchEvent::Piece { piece, .. }) = block_on(batch.next_event()).unwrap() {
                got.extend(piece.token.map(|token| token.id));
            }
        }
        session = match batch.remove(id) {
            Some(session) => session,
            None => break,
        };
        let mut lone = session.generate(all(30 - got.len() as u32)).unwrap();
        got.extend(lone.next().map(|token| token.unwrap().id));
    }
    assert_eq!(got, want);
    // Another session of the pool has a loop of its own.
    drop(batch);
    let mut batch = Batch::new(&pool, Steps::Fixed(4)).unwrap();
    for _ in 0..2 {
        let id = batch.add(begun(&pool, 0), all(30)).unwrap();
        let mut log = Log::default();
        while log.next(&mut batch) {}
        assert_eq!(ids(&log.told(id).0.0), want);
    }
}

/// Prompts of other sessions are read, and lone texts go on, while a batch runs in their pool.
#[test]
fn a_batch_shares_its_pool_with_prompts_and_lone_texts() {
    let model = model();
    let spec = segments();
    let all = |i: usize| GenerateOptions {
        max_tokens: 24,
        stop_tokens: Vec::new(),
        ignore_eos: true,
        ..options(i)
    };
    let want: Vec<_> = (0..4).map(|i| ids(&alone(&model, &spec, i, &all(i)).0.0)).collect();
    let pool = pool(&model, &spec, 4);
    let mut batch = Batch::new(&pool, Steps::Fixed(3)).unwrap();
    let mut names =
        vec![batch.add(begun(&pool, 0), all(0)).unwrap(), batch.add(begun(&pool, 1), all(1)).unwrap()];
    let mut log = Log::default();
    let mut lone = begun(&pool, 2);
    let mut generation = lone.start(all(2)).unwrap();
    let mut got = Vec::new();
    while let Some(token) = block_on(generation.next_token(&mut lone)).unwrap() {
        got.push(token.id);
        if got.len() == 5 {
            names.push(batch.add(begun(&pool, 3), all(3)).unwrap());
        }
        (0..3).for_each(|_| _ = log.next(&mut batch));
    }
    while log.next(&mut batch) {}
    assert_eq!(got, want[2]);
    for (id, i) in names.into_iter().zip([0, 1, 3]) {
        assert_eq!(ids(log.tokens(id)), want[i], "text {i}");
    }
}
