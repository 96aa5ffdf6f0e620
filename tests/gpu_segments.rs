//! Segments that reach their bound in the decode loop: an anchor is put in, or the text ends there, however steps are made.

mod support {
    pub mod golden;
    pub mod gpu;
    pub mod skip;
    pub mod steps;
}

use killick::kv::{AtMaxSegment, Insert, KvError, Place, PolicySpec, Preset, Tags};
use killick::session::SessionError;
use killick::{GenerateOptions, SamplerOptions, StopReason};
use pollster::block_on;
use support::steps::{ids, model, modes, options, prompt, session};

/// Anchors that the model hardly ever writes of its own will, in segments of seven tokens at most.
fn bounded(at_max_segment: AtMaxSegment) -> PolicySpec {
    let inserts = at_max_segment == AtMaxSegment::Insert;
    PolicySpec {
        anchors: Some(vec![3, 30]),
        not_after: (!inserts).then(|| (0..321).step_by(2).collect()),
        insert: inserts.then_some(Insert { id: 30, place: Place::After }),
        at_max_segment: Some(at_max_segment),
        max_segment: Some(7),
        max_anchors: Some(5),
        ..PolicySpec::new(Preset::Anchor)
    }
}

#[test]
fn an_anchor_is_put_in_where_a_segment_would_grow_too_long() {
    let model = model();
    let spec = bounded(AtMaxSegment::Insert);
    let policy = spec.resolve(model.config().context_len).unwrap();
    let mut want = Vec::new();
    for steps in modes() {
        let mut session = session(&model, &spec);
        let prompt = session.close_segments(&prompt());
        assert_eq!(prompt.len(), self::prompt().len() + 4, "the prompt is made of short segments too");
        block_on(session.append(&prompt)).unwrap();
        let tokens: Vec<_> = {
            let logprobs = SamplerOptions { logprobs: 2, ..SamplerOptions::default() };
            let options = GenerateOptions { sampler: logprobs, ..options(steps, 60) };
            session.generate(options).unwrap().map(Result::unwrap).collect()
        };
        // What was put in was not drawn, so nothing is said of its probability.
        assert!(tokens.iter().all(|token| token.logprobs.is_some() || token.id == 30));
        assert!(tokens.iter().filter(|token| token.logprobs.is_none()).count() >= 60 / 7 - 1);
        let got: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let text: Vec<u32> = prompt.into_iter().chain(got.iter().copied()).collect();
        let tags = Tags::of(&policy, &text);
        let anchors = (0..).zip(tags.as_slice()).filter(|(_, tag)| tag.is_anchor == 1);
        let anchors: Vec<u32> = anchors.map(|(pos, _)| pos).collect();
        assert!(anchors.windows(2).all(|pair| pair[1] - pair[0] <= 7), "{anchors:?}");
        assert!(anchors.iter().all(|&pos| [3, 30].contains(&text[pos as usize])), "none is closed by force");
        let forced = tags.as_slice()[..text.len() - 1].iter().filter(|tag| tag.forced == 1).count();
        assert!(
            forced >= 10 && session.kv().forced_anchors as usize == forced,
            "{forced}, {:?}",
            session.kv()
        );
        // The next turn begins in an open segment, with a token still pending.
        let more = session.close_segments(&[5; 9]);
        block_on(session.append(&more)).unwrap();
        assert_eq!(more.iter().filter(|&&id| id == 30).count() as u32, 1 + u32::from(more.len() > 10));
        if want.is_empty() {
            want = got;
        } else {
            assert_eq!(got, want, "{steps:?}");
        }
    }
}

#[test]
fn a_text_ends_where_a_segment_would_grow_too_long() {
    let model = model();
    let spec = bounded(AtMaxSegment::Error);
    let mut want = None;
    for steps in modes() {
        let mut session = session(&model, &spec);
        let refused = block_on(session.append(&prompt()));
        assert!(
            matches!(refused, Err(SessionError::Kv(KvError::SegmentTooLong { pos: 6, max_segment: 7 }))),
            "{refused:?}"
        );
        assert_eq!(session.kv().seen, 0, "nothing of the prompt was consumed");
        block_on(session.append(&prompt()[..3])).unwrap();
        let mut generation = session.generate(options(steps, 60)).unwrap();
        let got: Vec<u32> = generation.by_ref().map(|token| token.unwrap().id).collect();
        assert_eq!(generation.stop_reason(), Some(StopReason::SegmentLimit), "{steps:?}");
        drop(generation);
        assert_eq!(want.get_or_insert_with(|| got.clone()), &got, "{steps:?}");
        // Three and three are consumed; the seventh is given out and stays pending, until somebody takes it out.
        assert_eq!((got.len(), session.kv().seen), (4, 6));
        let mut again = session.generate(options(steps, 60)).unwrap();
        assert!(again.next().is_none(), "{steps:?}");
        assert_eq!(again.stop_reason(), Some(StopReason::SegmentLimit));
        drop(again);
        assert_eq!((session.pending(), session.kv().seen), (got.last().copied(), 6));
        assert!(matches!(
            block_on(session.append(&[3])),
            Err(SessionError::Kv(KvError::SegmentTooLong { .. }))
        ));
        session.drop_pending();
        block_on(session.append(&[3])).unwrap();
        assert_eq!(session.kv().segments, 1);
    }
}

/// The bound is one of segments, so it does nothing where there is no rule of segments, on either side.
#[test]
fn without_segments_nothing_is_put_in() {
    let model = model();
    let spec = PolicySpec { window: Some(6), ..bounded(AtMaxSegment::Insert) };
    let spec = PolicySpec { preset: Preset::SepLlm, ..spec };
    let mut want = None;
    for steps in modes() {
        let mut session = session(&model, &spec);
        assert_eq!(session.close_segments(&prompt()), prompt());
        block_on(session.append(&prompt())).unwrap();
        let got = ids(&mut session, options(steps, 40));
        assert!(got.iter().filter(|&&id| id == 30).count() < 4, "{got:?}");
        assert_eq!(want.get_or_insert_with(|| got.clone()), &got, "{steps:?}");
    }
}
