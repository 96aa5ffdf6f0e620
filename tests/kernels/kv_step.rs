//! `kv_step`: 10,000 random schedules; the GPU's ring, the host's ring and the mask oracle agree after every step.

use killick::gpu::{Buffer, BufferRequest, GpuError, Readback, Recorder};
use killick::kernels::emit::LoopState;
use killick::kernels::kv_step::{self, KvStep};
use killick::kv::{AtMaxSegment, NONE, Policy, Ring, RingParams, RingState, Row, Tags, mask};
use killick::reference;
use pollster::block_on;

use crate::support::gpu::{POISON, Produced, buffer, exact, gpu, output, try_run};
use crate::support::numerics::{compare_words, passes, rejects};
use crate::support::random::Random;
use crate::support::text::{VOCAB, pick, presets, random_policy};

/// Schedules that advance together, each with its own buffers; their parameters fit one recording.
const LANES: usize = 200;
const SCHEDULES: usize = 10_000;
const ROUNDS: usize = 20;
/// Anchors that a lane's buffer has room for.
const ANCHOR_ROOM: usize = 32;

/// The device's side of a schedule.
struct Lane {
    token: Buffer,
    anchor_bits: Buffer,
    state: Buffer,
    anchor_pos: Buffer,
    row: Buffer,
    loop_state: Buffer,
}

impl Lane {
    fn new() -> Self {
        Self {
            token: exact("token", 4),
            anchor_bits: exact("anchor bits", 16),
            state: exact("ring state", size_of::<RingState>()),
            anchor_pos: exact("anchor positions", ANCHOR_ROOM * 4),
            row: exact("row", size_of::<Row>()),
            loop_state: exact("loop state", size_of::<LoopState>()),
        }
    }

    /// The device goes on where the host is.
    fn copy(&self, ring: &Ring) {
        gpu().upload(&self.state, 0, bytemuck::bytes_of(&ring.state())).unwrap();
        gpu().upload(&self.anchor_pos, 0, bytemuck::cast_slice(ring.anchor_positions())).unwrap();
    }

    fn record(&self, rec: &mut Recorder, params: &RingParams) -> Result<(), GpuError> {
        let io = KvStep {
            token: &self.token,
            anchor_bits: &self.anchor_bits,
            state: &self.state,
            anchor_pos: &self.anchor_pos,
            rows: &self.row,
            loop_state: &self.loop_state,
        };
        kv_step::record(rec, io, 1, params)
    }
}

/// The host's side: the ring, the text so far and the states to go back to.
struct Schedule {
    policy: Policy,
    ring: Ring,
    ids: Vec<u32>,
    /// Positions of the unpinned anchors of `ids`.
    anchors: Vec<u32>,
    states: Vec<RingState>,
    last: Row,
}

impl Schedule {
    fn new(random: &mut Random) -> Self {
        let mut policy = random_policy(random);
        policy.window = pick(random, &[1, 1, 2, 5, 12]);
        policy.sinks = pick(random, &[0, 0, 1, 3, 6]);
        policy.max_anchors = pick(random, &[0, 1, 2, 3, 8]);
        policy.limit = pick(random, &[None, None, None, Some(7), Some(20)]);
        let ring = Ring::new(&policy, pick(random, &[1, 2, 5])).unwrap();
        let states = vec![ring.state()];
        Self { policy, ring, ids: Vec::new(), anchors: Vec::new(), states, last: Row::default() }
    }

    /// What only the host does, before the next step: a prompt chunk, or an undo. True if the device has to follow.
    fn jump(&mut self, random: &mut Random) -> bool {
        match random.below(12) {
            0 => {
                let n = (1 + random.below(30)).min(self.ring.remaining().into()) as usize;
                let ids: Vec<u32> = (0..n).map(|_| random.below(VOCAB.into()) as u32).collect();
                let (mut rows, mut anchor_rows) = (vec![Row::default(); n], vec![0; n]);
                self.ring.chunk(&ids, &mut rows, &mut anchor_rows).unwrap();
                // Later undos stay behind the chunk: the states inside it were never seen.
                self.states = vec![self.ring.state()];
                self.take(&ids, &rows);
                true
            }
            1 => {
                let most = (self.states.len() - 1).min(self.ring.params().in_flight as usize);
                let steps = random.below(most as u64 + 1) as usize;
                let state = self.states[self.states.len() - 1 - steps];
                if self.ring.restore(state).is_err() {
                    return false; // undone before, and not caught up since
                }
                self.states.truncate(self.states.len() - steps);
                self.ids.truncate(state.pos as usize);
                self.anchors.truncate(state.n_anchors as usize);
                true
            }
            _ => false,
        }
    }

    fn take(&mut self, ids: &[u32], rows: &[Row]) {
        self.ids.extend(ids);
        let unpinned = rows.iter().filter(|row| row.is_anchor == 1 && row.pos >= self.policy.sinks);
        self.anchors.extend(unpinned.map(|row| row.pos));
    }

    /// The step itself. At the end of `full` nothing happens, on either side.
    fn step(&mut self, id: u32) -> bool {
        let Ok((row, state)) = reference::kv_step(&mut self.ring, id) else { return false };
        self.states.push(state);
        self.take(&[id], &[row]);
        self.last = row;
        true
    }

    /// The positions that a row of the device reads are those that the mask shows.
    fn check_against_the_mask(&self, row: &Row) {
        let tags = Tags::of(&self.policy, &self.ids);
        let anchors = &self.anchors[row.anchor_first as usize..row.anchor_end as usize];
        let mut read: Vec<u32> =
            (0..row.pinned_end).chain(anchors.iter().copied()).chain(row.live_first..row.pos + 1).collect();
        assert_eq!(read.len(), row.n_keys as usize, "{:?}", self.policy);
        read.sort_unstable();
        let visible: Vec<u32> = mask::row(&self.policy, &tags, row.pos).collect();
        assert_eq!(read, visible, "position {} of {:?} under {:?}", row.pos, self.ids, self.policy);
        let first = row.near_anchor.max(row.anchor_first);
        let anchors = &self.anchors[first as usize..row.anchor_end as usize];
        let live = row.live_first.max(row.near_first)..row.pos + 1;
        let mut near: Vec<u32> =
            (row.near_first..row.pinned_end).chain(anchors.iter().copied()).chain(live).collect();
        near.sort_unstable();
        let sees = |&j: &u32| mask::visible_near(&self.policy, &tags, row.pos, j);
        assert_eq!(near, (0..=row.pos).filter(sees).collect::<Vec<_>>(), "near, under {:?}", self.policy);
        assert_eq!(row.pinned_query_pos, mask::pinned_query_position(&self.policy, row.pos));
    }
}

#[test]
fn ten_thousand_random_schedules_match_the_host_ring_and_the_mask() {
    const ROW: usize = size_of::<Row>();
    const STATE: usize = size_of::<RingState>();
    const ANCHORS: usize = ANCHOR_ROOM * 4;
    const LANE: usize = ROW + STATE + ANCHORS;
    let gpu = gpu();
    let lanes: Vec<Lane> = (0..LANES).map(|_| Lane::new()).collect();
    let staging = BufferRequest::readback("staging", (LANES * LANE) as u64);
    let readback = Readback::new(block_on(gpu.allocate(&[staging])).unwrap().remove(0));
    let staging = readback.buffer().clone();
    let mut random = Random(10_000);
    let (mut steps, mut forced, mut dropped, mut jumps, mut at_the_end) = (0, 0, 0, 0, 0);
    for _ in 0..SCHEDULES / LANES {
        let mut schedules: Vec<Schedule> = lanes.iter().map(|_| Schedule::new(&mut random)).collect();
        for (lane, schedule) in lanes.iter().zip(&schedules) {
            lane.copy(&schedule.ring);
            let mut bits = schedule.policy.anchor_bits(VOCAB);
            bits.resize(4, 0);
            gpu.upload(&lane.anchor_bits, 0, bytemuck::cast_slice(&bits)).unwrap();
        }
        for _ in 0..ROUNDS {
            let mut rec = Recorder::new(gpu.capabilities());
            let mut moved = Vec::new();
            for ((lane, schedule), at) in lanes.iter().zip(&mut schedules).zip((0..).step_by(LANE)) {
                if schedule.jump(&mut random) {
                    lane.copy(&schedule.ring);
                    jumps += 1;
                }
                // Now and then an id that no vocabulary has: no anchor, on either side.
                let id = if random.below(40) == 0 { u32::MAX } else { random.below(VOCAB.into()) as u32 };
                gpu.upload(&lane.token, 0, &id.to_le_bytes()).unwrap();
                lane.record(&mut rec, schedule.ring.params()).unwrap();
                rec.read(&lane.row, 0, &staging, at, ROW as u64).unwrap();
                rec.read(&lane.state, 0, &staging, at + ROW as u64, STATE as u64).unwrap();
                rec.read(&lane.anchor_pos, 0, &staging, at + (ROW + STATE) as u64, ANCHORS as u64).unwrap();
                moved.push(schedule.step(id));
            }
            let submission = gpu.run(rec.finish()).unwrap();
            let bytes = block_on(readback.take(gpu, (LANES * LANE) as u64, submission)).unwrap();
            for ((lane, schedule), moved) in bytes.chunks(LANE).zip(&schedules).zip(moved) {
                let row: Row = bytemuck::pod_read_unaligned(&lane[..ROW]);
                let state: RingState = bytemuck::pod_read_unaligned(&lane[ROW..ROW + STATE]);
                let anchors: Vec<u32> = bytemuck::pod_collect_to_vec(&lane[ROW + STATE..]);
                assert_eq!(
                    state,
                    schedule.ring.state(),
                    "after {:?} under {:?}",
                    schedule.ids,
                    schedule.policy
                );
                let positions = schedule.ring.anchor_positions();
                assert_eq!(&anchors[..positions.len()], positions, "under {:?}", schedule.policy);
                if moved {
                    assert_eq!(row, schedule.last, "after {:?} under {:?}", schedule.ids, schedule.policy);
                    schedule.check_against_the_mask(&row);
                    steps += 1;
                    forced += row.forced;
                } else {
                    at_the_end += 1;
                }
            }
        }
        dropped += schedules.iter().map(|schedule| schedule.ring.stats().dropped_anchors).sum::<u32>();
    }
    println!(
        "{SCHEDULES} schedules: {steps} steps, {jumps} chunks and undos, {forced} forced anchors, {dropped} dropped, \
         {at_the_end} steps refused at the end"
    );
    // Every bound must have acted, or the schedules prove less than they say.
    assert!(steps > 100_000 && jumps > 10_000 && forced > 1000 && dropped > 10_000 && at_the_end > 1000);
}

/// One ring on the device: `ids` in as many dispatches of one submit, then the last row, the state, the anchors.
fn run_text(params: &RingParams, policy: &Policy, vocab: u32, ids: &[u32]) -> Vec<Produced> {
    run_text_then(params, policy, vocab, ids, &[])
}

/// The same, and then `after` with the loop stopped.
fn run_text_then(
    params: &RingParams,
    policy: &Policy,
    vocab: u32,
    ids: &[u32],
    after: &[u32],
) -> Vec<Produced> {
    let running = buffer("loop state", &[LoopState::default()]);
    let stopped =
        buffer("loop state", &[LoopState { stopped: LoopState::STOP_TOKEN, ..LoopState::default() }]);
    let state = buffer("ring state", bytemuck::bytes_of(&RingState::default()));
    let anchor_pos = output("anchor positions", params.anchor_cap as usize);
    let row = output("row", size_of::<Row>() / 4);
    let words = policy.anchor_bits(vocab);
    // A buffer's size is a multiple of 16 bytes, so this one has the words and nothing behind them but zeros.
    let anchor_bits = exact("anchor bits", words.len() * 4);
    gpu().upload(&anchor_bits, 0, bytemuck::cast_slice(&words)).unwrap();
    let before = ids.iter().map(|id| (buffer("token", &[*id]), &running));
    let tokens: Vec<_> = before.chain(after.iter().map(|id| (buffer("token", &[*id]), &stopped))).collect();
    let record = |rec: &mut Recorder| {
        tokens.iter().try_for_each(|(token, loop_state)| {
            let io = KvStep {
                token,
                anchor_bits: &anchor_bits,
                state: &state,
                anchor_pos: &anchor_pos,
                rows: &row,
                loop_state,
            };
            kv_step::record(rec, io, 1, params)
        })
    };
    try_run(&[&row, &state, &anchor_pos], record).unwrap()
}

/// Row, state and anchor positions as words; an anchor position that was never set is left alone.
fn want(policy: &Policy, in_flight: u32, ids: &[u32]) -> [Vec<u32>; 3] {
    let mut ring = Ring::new(policy, in_flight).unwrap();
    let mut last = Row::default();
    for id in ids {
        (last, _) = reference::kv_step(&mut ring, *id).unwrap();
    }
    let mut anchors = ring.anchor_positions().to_vec();
    anchors.iter_mut().skip(ring.state().n_anchors as usize).for_each(|pos| *pos = POISON);
    [bytemuck::cast_slice(&[last]).to_vec(), bytemuck::cast_slice(&[ring.state()]).to_vec(), anchors]
}

/// The row of a step that changes nothing.
fn idle(base: u32) -> Row {
    Row { live_slot: NONE, anchor_slot: NONE, n_keys: 1, base, ..Row::default() }
}

fn policy() -> Policy {
    Policy {
        seg_rule: true,
        window: 3,
        sinks: 2,
        anchors: [0, 31, 32, 128_255].into_iter().collect(),
        not_after: [1, 128_254].into_iter().collect(),
        isolated: true,
        max_anchors: 3,
        max_segment: 6,
        max_distance: 20,
        ..presets()[1].clone()
    }
}

/// 60 tokens of a vocabulary of 128,256, with anchors at the edges of the words of the bit set.
fn ids() -> Vec<u32> {
    (0..60).map(|i| [7, 31, 33, 30, 63, 64, 1, 128_255, 128_254, 32, 5, 0, 9][i * 5 % 13]).collect()
}

#[test]
fn ids_of_a_large_vocabulary_are_found_in_the_bit_set() {
    let (policy, ids) = (policy(), ids());
    let ring = Ring::new(&policy, 4).unwrap();
    for n in [1, 2, 3, 17, 60] {
        let got = run_text(ring.params(), &policy, 128_256, &ids[..n]);
        for (got, want) in got.iter().zip(want(&policy, 4, &ids[..n])) {
            passes("kv_step", &format!("({n} tokens)"), got, compare_words("kv_step", got, &want));
        }
    }
}

#[test]
fn after_the_stop_a_step_changes_nothing_and_writes_nowhere() {
    let (policy, ids) = (policy(), ids());
    let ring = Ring::new(&policy, 4).unwrap();
    for n in [1, 7, 59] {
        let got = run_text_then(ring.params(), &policy, 128_256, &ids[..n], &ids[n..]);
        let mut want = want(&policy, 4, &ids[..n]);
        // It writes nowhere and reads one key.
        want[0] = bytemuck::cast_slice(&[idle(0)]).to_vec();
        for (got, want) in got.iter().zip(&want) {
            passes(
                "kv_step",
                &format!("({n} tokens, then the stop)"),
                got,
                compare_words("kv_step", got, want),
            );
        }
    }
}

#[test]
fn the_check_rejects_faults() {
    let (policy, ids) = (policy(), ids());
    let right = *Ring::new(&policy, 4).unwrap().params();
    let want = want(&policy, 4, &ids);
    for (fault, params) in [
        ("a window one wider", RingParams { window: 7, ..right }),
        ("one sink less", RingParams { sinks: 1, ..right }),
        ("without isolation", RingParams { isolated: 0, ..right }),
        ("without the segment rule", RingParams { seg_rule: 0, ..right }),
        ("one anchor more", RingParams { max_anchors: 4, ..right }),
        ("another bound of segments", RingParams { max_segment: 5, ..right }),
        ("a distance much shorter", RingParams { max_distance: 4, ..right }),
        ("live ring of another capacity", RingParams { live_cap: right.live_cap - 1, ..right }),
        ("one step past the end", RingParams { limit: 59, ..right }),
    ] {
        reject(fault, &run_text(&params, &policy, 128_256, &ids), &want);
    }
    // The sixth token is an anchor by its id and stands at the bound.
    let (short, counting) =
        ([7, 30, 63, 64, 5, 0], RingParams { at_max_segment: AtMaxSegment::Insert as u32, ..right });
    let counted = run_text(&counting, &policy, 128_256, &short);
    reject("an anchor at the bound counted as forced", &counted, &self::want(&policy, 4, &short));
    let free = Policy { not_after: [].into_iter().collect(), ..policy.clone() };
    reject("nothing that bars an anchor", &run_text(&right, &free, 128_256, &ids), &want);
    reject("a step lost", &run_text(&right, &policy, 128_256, &ids[..59]), &want);
    reject("a bit set cut short", &run_text(&right, &policy, 128_000, &ids), &want);
}

/// At least one of the three buffers must differ.
fn reject(fault: &str, got: &[Produced], want: &[Vec<u32>; 3]) {
    let results = got.iter().zip(want).map(|(got, want)| (got, compare_words("kv_step", got, want)));
    let (got, result) = results.max_by_key(|(_, result)| result.is_err()).unwrap();
    rejects("kv_step", fault, got, result);
}
