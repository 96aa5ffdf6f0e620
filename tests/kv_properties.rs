//! Random schedules: the ring reads exactly the keys of the rule, whatever the policy, the chunks and the
//! undos.
//!
//! Each case draws every field of a policy, a text, and a list of steps, prompt chunks and undos (after which
//! the text may go on differently). Each row that the ring produces is compared, key by key, with the mask
//! oracle, and the oracle with a plain transcription of the rule; after each operation the statistics are
//! compared with a count over the whole text.

#[path = "support/slots.rs"]
mod slots;

use std::cell::Cell;

use killick::kv::{AtMaxSegment, Insert, KvCounts, Place, Policy, Preset, RingState, Tags, mask};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use slots::Slots;

const N: usize = 60;
const VOCAB: u32 = 6;

#[derive(Clone, Debug)]
enum Op {
    Step,
    Chunk(usize),
    /// Undo this many steps, then add `shift` to every id that follows.
    Undo {
        steps: usize,
        shift: u32,
    },
}

fn policies() -> impl Strategy<Value = Policy> {
    let anchors = prop::sample::select(vec![vec![], vec![0], vec![0], vec![0, 1], vec![0, 1, 2, 3, 4, 5]]);
    let fields = (
        prop::sample::select(vec![1_u32, 1, 1, 2, 5, 12, 70]),
        prop::sample::select(vec![0_u32, 0, 1, 4, 70]),
        prop::sample::select(vec![0_u32, 1, 2, 3, 8, 1000]),
        prop::sample::select(vec![1_u32, 2, 5, 9, 40]),
        prop::sample::select(vec![1_u32, 2, 3, 10, 25, u32::MAX]),
        prop::sample::select(vec![None, None, Some(1_u32), Some(3), Some(8), Some(30)]),
    );
    let not_after = prop::sample::select(vec![vec![], vec![], vec![1], vec![0, 2]]);
    let inserts = prop::bool::weighted(0.25);
    (anchors, not_after, fields, any::<bool>(), any::<bool>(), inserts).prop_map(
        |(anchors, not_after, (window, sinks, a, m, d, layer_window), seg_rule, isolated, inserts)| {
            let inserts = inserts && anchors.contains(&0) && m > 1;
            Policy {
                preset: Preset::Anchor,
                seg_rule,
                window,
                sinks,
                anchors: anchors.into_iter().collect(),
                not_after: not_after.into_iter().filter(|_| !inserts).collect(),
                isolated,
                max_anchors: a,
                max_segment: m,
                at_max_segment: if inserts { AtMaxSegment::Insert } else { AtMaxSegment::Close },
                max_distance: d,
                limit: None,
                insert: inserts.then_some(Insert { id: 0, place: Place::After }),
                layer_window,
            }
        },
    )
}

fn texts() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![4 => prop::collection::vec(0..VOCAB, N), 1 => Just(vec![5; N]), 1 => Just(vec![0; N])]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => Just(Op::Step),
        2 => (1..=14_usize).prop_map(Op::Chunk),
        2 => (1..=9_usize, 0..VOCAB).prop_map(|(steps, shift)| Op::Undo { steps, shift }),
    ];
    prop::collection::vec(op, 20..80)
}

/// What is true of a text, without a ring.
struct Oracle<'a> {
    policy: &'a Policy,
    ids: Vec<u32>,
    tags: Tags,
    /// (position, forced) of every anchor of the text.
    anchors: Vec<(u32, bool)>,
    /// `starts[t]`: start of the segment that token t belongs to.
    starts: Vec<u32>,
}

impl<'a> Oracle<'a> {
    fn new(policy: &'a Policy, ids: Vec<u32>) -> Self {
        let (mut anchors, mut starts, mut start) = (vec![], vec![], 0);
        for (t, &id) in (0..).zip(&ids) {
            starts.push(start);
            let barred = t > 0 && policy.not_after.ids().contains(&ids[t as usize - 1]);
            let member = policy.anchors.ids().contains(&id) && !barred;
            let bound = policy.seg_rule && t - start + 1 == policy.max_segment;
            if member || bound {
                let inserted = policy.at_max_segment == AtMaxSegment::Insert;
                anchors.push((t, bound && (!member || inserted)));
                start = t + 1;
            }
        }
        starts.push(start);
        Self { policy, tags: Tags::of(policy, &ids), ids, anchors, starts }
    }

    /// The positions that query `i` sees, as a bit mask: the oracle of the library, which has to agree with
    /// the plain rule.
    fn row(&self, i: u32) -> u64 {
        let row = mask::row(self.policy, &self.tags, i).fold(0, |row, j| row | 1 << j);
        assert_eq!(row, self.plain_row(i), "mask.rs and the plain rule differ at {i}");
        row
    }

    /// The same in a layer with a window of its own, from the plain rule: what lies inside the window.
    fn near(&self, i: u32) -> u64 {
        let sees = |&j: &u32| mask::visible_near(self.policy, &self.tags, i, j);
        let row = (0..=i).filter(sees).fold(0, |row, j| row | 1 << j);
        let first = self.policy.layer_window.map_or(0, |window| (i + 1).saturating_sub(window));
        assert_eq!(row, self.plain_row(i) >> first << first, "mask.rs and the plain window differ at {i}");
        row
    }

    fn plain_row(&self, i: u32) -> u64 {
        let p = self.policy;
        let upto: Vec<u32> = self.anchors.iter().map(|&(t, _)| t).filter(|&t| t <= i).collect();
        let newest = &upto[upto.len() - upto.len().min(p.max_anchors as usize)..];
        let isolated = p.isolated && upto.last() == Some(&i);
        let sees = |j: u32| {
            j == i
                || (p.seg_rule && self.starts[j as usize] == self.starts[i as usize])
                || i - j < p.window
                || j < p.sinks
                || (newest.contains(&j) && !isolated && i - j < p.max_distance)
        };
        (0..=i).filter(|&j| sees(j)).fold(0, |row, j| row | 1 << j)
    }

    /// The statistics after `t` tokens, `peak_live` left out.
    fn counts(&self, t: u32) -> KvCounts {
        let p = self.policy;
        let before: Vec<(u32, bool)> = self.anchors.iter().copied().filter(|&(pos, _)| pos < t).collect();
        let n_old = before.len() - before.len().min(p.max_anchors as usize);
        let kept = |k: usize, pos: u32| k >= n_old && t - pos < p.max_distance;
        let (mut live, mut dropped) = (0_u64, 0);
        for (k, &(pos, _)) in before.iter().enumerate() {
            live |= u64::from(kept(k, pos)) << pos;
            dropped += u32::from(pos >= p.sinks && !kept(k, pos));
        }
        for j in 0..t {
            let readable = j < p.sinks || t - j < p.window || (p.seg_rule && j >= self.starts[t as usize]);
            live |= u64::from(readable) << j;
        }
        KvCounts {
            seen: t,
            live: live.count_ones(),
            peak_live: 0,
            anchors: before.len() as u32,
            forced_anchors: before.iter().filter(|anchor| anchor.1).count() as u32,
            dropped_anchors: dropped,
            segments: if p.seg_rule { before.len() as u32 } else { 0 },
        }
    }
}

/// The keys read, as a bit mask; no key may come twice, and every slot read must hold something.
fn set(read: &[u32]) -> Result<u64, String> {
    read.iter().try_fold(0, |set, &pos| match 1_u64.checked_shl(pos) {
        Some(bit) if set & bit == 0 => Ok(set | bit),
        _ => Err(format!("key {pos} is read twice or was never written: {read:?}")),
    })
}

/// Runs a schedule; the number of rows compared, or the first difference.
fn run(
    policy: &Policy,
    ids: Vec<u32>,
    ops: &[Op],
    in_flight: u32,
    mut slots: Slots,
) -> Result<usize, String> {
    let mut oracle = Oracle::new(policy, ids);
    let mut history: Vec<RingState> = vec![];
    let mut peaks = vec![0]; // by position
    let (mut reached, mut compared) = (0, 0);
    for op in ops {
        let before = slots.ring.state();
        let pos = before.pos as usize;
        if pos == N {
            break;
        }
        let rows = match *op {
            Op::Undo { steps, shift } => {
                if let Some(first) = history.len().checked_sub(steps) {
                    let state = history[first];
                    slots.ring.restore(state).map_err(|e| e.to_string())?;
                    history.truncate(first);
                    peaks.truncate(state.pos as usize + 1);
                    let mut ids = oracle.ids;
                    ids[state.pos as usize..].iter_mut().for_each(|id| *id = (*id + shift) % VOCAB);
                    oracle = Oracle::new(policy, ids);
                }
                vec![]
            }
            Op::Step => vec![slots.step_both(oracle.ids[pos])],
            Op::Chunk(m) => slots.chunk_both(&oracle.ids[pos..N.min(pos + m)]),
        };
        for (i, (read, near)) in (before.pos..).zip(&rows) {
            let (got, want) = ([set(read)?, set(near)?], [oracle.row(i), oracle.near(i)]);
            if got != want {
                return Err(format!("row {i} reads {got:x?}, the rule says {want:x?}"));
            }
            let peak = peaks[i as usize].max(oracle.counts(i + 1).live);
            peaks.push(peak);
            compared += 1;
        }
        let state = slots.ring.state();
        reached = reached.max(state.pos);
        if !rows.is_empty() {
            history.push(before);
        }
        history.retain(|undo| undo.pos + in_flight >= reached);
        let want = KvCounts { peak_live: peaks[state.pos as usize], ..oracle.counts(state.pos) };
        if slots.ring.stats() != want {
            return Err(format!("statistics {:?}, counted {want:?}", slots.ring.stats()));
        }
    }
    Ok(compared)
}

#[test]
fn ring_reads_exactly_what_the_rule_says() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12_000) };
    let compared = Cell::new(0);
    let in_flight = prop::sample::select(vec![1_u32, 4, 7]);
    let schedules = (policies(), texts(), ops(), in_flight);
    let result = TestRunner::new(config).run(&schedules, |(policy, ids, ops, in_flight)| {
        let slots = Slots::new(&policy, in_flight);
        let rows = run(&policy, ids, &ops, in_flight, slots).map_err(TestCaseError::fail)?;
        compared.set(compared.get() + rows);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    assert!(compared.get() > 300_000, "the schedules hold only {} rows", compared.get());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn chunking_changes_neither_state_nor_statistics(
        policy in policies(), ids in prop::collection::vec(0..VOCAB, 1..400),
    ) {
        let run = |size: usize| {
            let mut slots = Slots::new(&policy, 3);
            let rows: Vec<Vec<u32>> = ids.chunks(size).flat_map(|ids| slots.chunk(ids)).collect();
            (rows, slots.ring.state(), slots.ring.anchor_positions().to_vec())
        };
        let mut steps = Slots::new(&policy, 3);
        let rows: Vec<Vec<u32>> = ids.iter().map(|&id| steps.step(id)).collect();
        let want = (rows, steps.ring.state(), steps.ring.anchor_positions().to_vec());
        for size in [1, 7, 64, ids.len()] {
            prop_assert_eq!(&run(size), &want, "chunks of {}", size);
        }
    }

    #[test]
    fn without_anchors_the_segment_rule_is_plain_causal(
        mut policy in policies(), ids in prop::collection::vec(1..VOCAB, N),
    ) {
        policy.anchors = [0].into_iter().collect();
        policy.seg_rule = true;
        policy.max_segment = N as u32 + 1;
        policy.not_after = [].into_iter().collect();
        let mut slots = Slots::new(&policy, 1);
        for (i, &id) in (0_u32..).zip(&ids) {
            prop_assert_eq!(slots.step(id), (0..=i).collect::<Vec<_>>());
        }
        prop_assert_eq!(slots.ring.stats().live, N as u32);
    }

    #[test]
    fn with_room_for_everything_nothing_is_evicted(mut policy in policies(), ids in texts()) {
        policy.window = N as u32 + 1;
        let mut slots = Slots::new(&policy, 1);
        for (i, &id) in (0_u32..).zip(&ids) {
            prop_assert_eq!(slots.step(id), (0..=i).collect::<Vec<_>>());
            prop_assert_eq!(slots.ring.stats().live, i + 1);
        }
    }
}

/// The check above must be able to fail: it does when the rings lack the spare slots and a schedule undoes
/// steps.
#[test]
fn schedules_fail_without_the_spare_slots() {
    let mut runner = TestRunner::deterministic();
    let (mut failed, mut failed_without_undo) = (0, 0);
    for _ in 0..2_000 {
        let (policy, ids, ops) = (policies(), texts(), ops()).new_tree(&mut runner).unwrap().current();
        let slots = || Slots::without_spare(&policy, 7);
        // Chunks scatter with the ring's own idea of its capacity, so only single steps are run here.
        let ops: Vec<Op> =
            ops.into_iter().map(|op| if let Op::Chunk(_) = op { Op::Step } else { op }).collect();
        failed += usize::from(run(&policy, ids.clone(), &ops, 7, slots()).is_err());
        let steps: Vec<Op> = ops.into_iter().filter(|op| matches!(op, Op::Step)).collect();
        failed_without_undo += usize::from(run(&policy, ids, &steps, 7, slots()).is_err());
    }
    assert!(failed > 100, "only {failed} of 2000 schedules noticed the missing spare slots");
    assert_eq!(failed_without_undo, 0, "without an undo no spare slot is needed");
}
