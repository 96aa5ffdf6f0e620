//! `kv_step` over several texts of one pool: each row is of the text that its loop names, and every text is as if it were alone.

use killick::gpu::Recorder;
use killick::kernels::emit::LoopState;
use killick::kernels::kv_step::{self, KvStep};
use killick::kv::{NONE, Policy, Ring, RingState, Row, Tags, mask};

use crate::support::gpu::{POISON, Produced, buffer, output, share, try_run};
use crate::support::numerics::{compare_words, passes, rejects};
use crate::support::random::Random;
use crate::support::text::{VOCAB, pick, random_policy};

/// Places of the pool, one of which holds no text that goes on.
const PLACES: u32 = 5;
const IN_FLIGHT: u32 = 3;

/// A pool of texts under one policy, and a step over some of them.
struct Pool {
    policy: Policy,
    rings: Vec<Ring>,
    texts: Vec<Vec<u32>>,
}

/// One row of a step: which text consumes which token, unless its loop has stopped.
#[derive(Clone, Copy)]
struct Asked {
    text: u32,
    id: u32,
    stopped: bool,
}

impl Pool {
    fn new(random: &mut Random) -> Self {
        let mut policy = random_policy(random);
        policy.window = pick(random, &[1, 2, 5]);
        policy.sinks = pick(random, &[0, 1, 3]);
        policy.max_anchors = pick(random, &[0, 1, 2, 3]);
        policy.limit = pick(random, &[None, None, Some(24)]);
        let rings = (0..PLACES).map(|_| Ring::new(&policy, IN_FLIGHT).unwrap()).collect();
        let mut pool = Self { policy, rings, texts: vec![Vec::new(); PLACES as usize] };
        // They stand at different positions.
        for text in 0..PLACES {
            for _ in 0..random.below(25) {
                pool.consume(text, random.below(VOCAB.into()) as u32);
            }
        }
        pool
    }

    fn consume(&mut self, text: u32, id: u32) -> Option<Row> {
        let row = self.rings[text as usize].step(id).ok()?;
        self.texts[text as usize].push(id);
        Some(row)
    }

    /// Some of the texts in some order, now and then one whose loop has stopped.
    fn ask(&self, random: &mut Random) -> Vec<Asked> {
        let mut places: Vec<u32> = (0..PLACES).collect();
        (0..PLACES as usize).for_each(|i| places.swap(i, random.below(PLACES.into()) as usize));
        places.truncate(1 + random.below(u64::from(PLACES) - 1) as usize);
        let asked =
            |text| Asked { text, id: random.below(VOCAB.into()) as u32, stopped: random.below(6) == 0 };
        places.into_iter().map(asked).collect()
    }

    /// Rows, states and anchor positions of the device, which begins where the host is.
    fn produce(&self, asked: &[Asked]) -> Vec<Produced> {
        let ring = &self.rings[0];
        let states: Vec<RingState> = self.rings.iter().map(Ring::state).collect();
        let anchors: Vec<u32> = self.rings.iter().flat_map(|ring| ring.anchor_positions().to_vec()).collect();
        let loop_of = |asked: &Asked| LoopState {
            text: asked.text,
            stopped: if asked.stopped { LoopState::STOP_TOKEN } else { 0 },
            ..LoopState::default()
        };
        let token = buffer("token", &asked.iter().map(|asked| asked.id).collect::<Vec<_>>());
        let loop_state = buffer("loop state", &asked.iter().map(loop_of).collect::<Vec<_>>());
        let (state, anchor_pos) = (buffer("ring state", &states), buffer("anchor positions", &anchors));
        let rows = output("rows", asked.len() * size_of::<Row>() / 4);
        let anchor_bits = buffer("anchor bits", &self.policy.anchor_bits(VOCAB));
        let io = KvStep {
            token: &token,
            anchor_bits: &anchor_bits,
            state: &state,
            anchor_pos: &anchor_pos,
            rows: &rows,
            loop_state: &loop_state,
        };
        let record = |rec: &mut Recorder| kv_step::record(rec, io, asked.len() as u32, ring.params());
        try_run(&[&rows, &state, &anchor_pos], record).unwrap()
    }

    /// The same of the host, which goes on by these tokens. What each row reads is what the mask shows.
    fn want(&mut self, asked: &[Asked]) -> [Vec<u32>; 3] {
        let slots = self.rings[0].layout().slots();
        let mut rows = Vec::new();
        for Asked { text, id, stopped } in asked.iter().copied() {
            let base = text * slots;
            let idle = Row { live_slot: NONE, anchor_slot: NONE, n_keys: 1, base, ..Row::default() };
            let moved = if stopped { None } else { self.consume(text, id) };
            if let Some(row) = moved {
                self.check_against_the_mask(text, &row);
            }
            rows.push(moved.map_or(idle, |row| Row { base, ..row }));
        }
        let states: Vec<RingState> = self.rings.iter().map(Ring::state).collect();
        let anchors = self.rings.iter().flat_map(|ring| ring.anchor_positions().to_vec()).collect();
        [bytemuck::cast_slice(&rows).to_vec(), bytemuck::cast_slice(&states).to_vec(), anchors]
    }

    fn check_against_the_mask(&self, text: u32, row: &Row) {
        let (ids, ring) = (&self.texts[text as usize], &self.rings[text as usize]);
        let tags = Tags::of(&self.policy, ids);
        let at = |number: u32| ring.anchor_positions()[(number % ring.layout().anchor_cap) as usize];
        let anchors = (row.anchor_first..row.anchor_end).map(at);
        let mut read: Vec<u32> =
            (0..row.pinned_end).chain(anchors).chain(row.live_first..row.pos + 1).collect();
        read.sort_unstable();
        let visible: Vec<u32> = mask::row(&self.policy, &tags, row.pos).collect();
        assert_eq!(read, visible, "text {text} at {} under {:?}", row.pos, self.policy);
    }
}

#[test]
fn each_text_of_a_pool_goes_on_as_if_it_were_alone() {
    let mut random = Random(77);
    let (mut stopped, mut closed, mut at_the_end) = (0, 0, 0);
    for round in 0..share(120, 25) {
        let mut pool = Pool::new(&mut random);
        for step in 0..4 {
            let asked = pool.ask(&mut random);
            let got = pool.produce(&asked);
            let want = pool.want(&asked);
            for (got, want) in got.iter().zip(&want) {
                let case = format!("(pool {round}, step {step}, {} texts)", asked.len());
                passes("kv_step", &case, got, compare_words("kv_step", got, want));
            }
            let rows: &[Row] = bytemuck::cast_slice(&want[0]);
            stopped += asked.iter().filter(|asked| asked.stopped).count();
            closed += rows.iter().filter(|row| row.is_anchor == 1).count();
            let still = |(row, asked): &(&Row, &Asked)| row.live_slot == NONE && !asked.stopped;
            at_the_end += rows.iter().zip(&asked).filter(still).count();
        }
    }
    println!(
        "{stopped} rows of stopped loops, {closed} that close a segment, {at_the_end} at the end of their ring"
    );
    assert!(stopped > 10 && closed > 10 && at_the_end > 0);
}

#[test]
fn the_check_rejects_rows_of_other_texts() {
    let mut random = Random(5);
    let mut pool = Pool::new(&mut random);
    let asked = [(2, 3), (0, 1), (4, 5)].map(|(text, id)| Asked { text, id, stopped: false });
    let right = pool.produce(&asked);
    let fault = |name: &str, change: &dyn Fn(&mut [Asked; 3])| {
        let mut wrong = asked;
        change(&mut wrong);
        (name.to_owned(), pool.produce(&wrong))
    };
    let faults = [
        fault("two texts swapped", &|asked| {
            (asked[0].text, asked[1].text) = (asked[1].text, asked[0].text);
        }),
        fault("every row of the first text", &|asked| asked.iter_mut().for_each(|asked| asked.text = 0)),
        fault("a stop not seen", &|asked| asked[1].stopped = true),
    ];
    let mut want = pool.want(&asked);
    // Positions of anchors that never were are what the host has: zeros.
    want.iter_mut().flatten().for_each(|word| assert_ne!(*word, POISON));
    for (got, want) in right.iter().zip(&want) {
        passes("kv_step", "before the faults", got, compare_words("kv_step", got, want));
    }
    for (name, got) in faults {
        let results = got.iter().zip(&want).map(|(got, want)| (got, compare_words("kv_step", got, want)));
        let (got, result) = results.max_by_key(|(_, result)| result.is_err()).unwrap();
        rejects("kv_step", &name, got, result);
    }
}
