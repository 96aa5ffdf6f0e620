//! `kv_write`: the survivors of prompt chunks of a real ring, bit by bit, and nothing else.

use killick::kernels::kv_write::{self, KvWrite};
use killick::kv::{NONE, Ring, Row};
use killick::model_file::Heads;
use killick::reference;

use crate::support::gpu::{Produced, buffer, each_implementation, entries, held, try_run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare_bits, passes, rejects};
use crate::support::random::Random;
use crate::support::text::{pick, random_ids, random_policy};

/// Keys, values and what the cache held before.
struct Case {
    rows: Vec<Row>,
    heads: Heads,
    k: Vec<f32>,       // (rows, kv_dim)
    v: Vec<f32>,       // (rows, kv_dim)
    k_cache: Vec<f32>, // (slots, kv_dim)
    v_cache: Vec<f32>, // (slots, kv_dim)
}

impl Case {
    fn new(rows: Vec<Row>, slots: usize, heads: Heads) -> Self {
        let (n, kv_dim) = (rows.len(), heads.kv_dim() as usize);
        Self {
            rows,
            heads,
            k: numbers(1, n, kv_dim),
            v: numbers(2, n, kv_dim),
            k_cache: numbers(3, slots, kv_dim),
            v_cache: numbers(4, slots, kv_dim),
        }
    }

    fn produce(&self, n: usize) -> [Produced; 2] {
        let entries = |label, values: &[f32]| entries(label, values, self.heads.head_dim);
        let (rows, k, v) =
            (buffer("rows", &self.rows), entries("k chunk", &self.k), entries("v chunk", &self.v));
        let (k_cache, v_cache) = (entries("k cache", &self.k_cache), entries("v cache", &self.v_cache));
        let io = KvWrite { rows: &rows, k_chunk: &k, v_chunk: &v, k_cache: &k_cache, v_cache: &v_cache };
        try_run(&[&k_cache, &v_cache], |rec| kv_write::record(rec, io, n as u32, self.heads))
            .unwrap()
            .try_into()
            .unwrap()
    }

    fn want(&self) -> [Vec<f32>; 2] {
        [(&self.k, &self.k_cache), (&self.v, &self.v_cache)].map(|(chunk, cache)| {
            let mut cache = cache.clone();
            reference::kv_write(&self.rows, chunk, self.heads.kv_dim() as usize, &mut cache);
            // As the device holds them; it copies whole heads.
            held(&cache, self.heads.head_dim)
        })
    }

    fn check(&self, case: &str) {
        let Heads { n_kv_heads, head_dim, .. } = self.heads;
        let case = format!("{case} ({}x{n_kv_heads}x{head_dim})", self.rows.len());
        for (got, want) in self.produce(self.rows.len()).iter().zip(self.want()) {
            passes("kv_write", &case, got, compare_bits("kv_write", got, &want));
        }
    }

    fn rejected(&self, fault: &str, n: usize, want: &[Vec<f32>; 2]) {
        for (got, want) in self.produce(n).iter().zip(want) {
            rejects("kv_write", fault, got, compare_bits("kv_write", got, want));
        }
    }
}

fn heads(n_kv_heads: u32, head_dim: u32) -> Heads {
    Heads { n_heads: n_kv_heads, n_kv_heads, head_dim }
}

fn one(head_dim: u32) -> Heads {
    heads(1, head_dim)
}

fn row(live_slot: u32, anchor_slot: u32) -> Row {
    Row { live_slot, anchor_slot, ..Row::default() }
}

#[test]
fn chunks_of_random_policies_match_the_reference() {
    each_implementation("kv_write", |_| {
        let mut random = Random(99);
        for round in 0..40 {
            let policy = random_policy(&mut random);
            let mut ring = Ring::new(&policy, 3).unwrap();
            for _ in 0..3 {
                let n = pick(&mut random, &[1, 7, 30, 64]);
                let ids = random_ids(&mut random, n);
                let (mut rows, mut anchors) = (vec![Row::default(); n], vec![0; n]);
                ring.chunk(&ids, &mut rows, &mut anchors).unwrap();
                // The text is the second of its pool.
                let slots = ring.layout().slots();
                rows.iter_mut().for_each(|row| row.base = slots);
                Case::new(
                    rows,
                    2 * slots as usize,
                    [one(4), one(48), heads(3, 64), heads(13, 20)][round % 4],
                )
                .check("chunk");
            }
        }
    });
}

#[test]
fn every_mixture_of_homes_matches_the_reference() {
    each_implementation("kv_write", |_| {
        let rows = vec![row(0, NONE), row(NONE, NONE), row(NONE, 5), row(3, 4), row(2, NONE)];
        for heads in [one(4), heads(7, 36), one(256), heads(13, 20)] {
            Case::new(rows.clone(), 7, heads).check("mixture");
        }
        // More slots than a texture is high.
        Case::new(vec![row(8191, NONE), row(8192, 8999), row(0, 8193)], 9000, heads(3, 64))
            .check("many slots");
        Case::new(vec![row(NONE, NONE); 9], 2, one(8)).check("no home at all");
        Case::new(vec![], 2, one(8)).check("no row");
    });
}

#[test]
fn the_check_rejects_faults() {
    each_implementation("kv_write", |_| {
        let rows: Vec<Row> = (0..70).map(|r| row(2 * r, if r % 3 == 0 { 2 * r + 1 } else { NONE })).collect();
        let right = Case::new(rows.clone(), 140, one(20));
        right.check("all rows");
        let want = right.want();
        right.rejected("last workgroup missing", 69, &want);
        right.rejected("off-by-one row", 70, &want.each_ref().map(|cache| off_by_one_row(cache, 20)));
        right.rejected("two lanes swapped", 70, &want.each_ref().map(|cache| swap_two(cache)));
        let fault = |name, change: &dyn Fn(&mut Vec<Row>)| {
            let mut wrong = Case::new(rows.clone(), 140, one(20));
            change(&mut wrong.rows);
            wrong.rejected(name, 70, &want);
        };
        fault("anchors without their second copy", &|rows| {
            rows.iter_mut().for_each(|row| row.anchor_slot = NONE);
        });
        fault("one row not written", &|rows| rows[69].live_slot = NONE);
        fault("a row of another text", &|rows| rows[0].base = 1);
        fault("position taken for a slot", &|rows| {
            rows.iter_mut().zip(0..).for_each(|(row, pos)| row.live_slot = pos);
        });
        let mut swapped = Case::new(rows.clone(), 140, one(20));
        core::mem::swap(&mut swapped.k, &mut swapped.v);
        swapped.rejected("keys and values swapped", 70, &want);
    });
}
