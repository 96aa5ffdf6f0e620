//! `kv_write`: the survivors of prompt chunks of a real ring, bit by bit, and nothing else.

use killick::kernels::kv_write::{self, KvWrite};
use killick::kv::{NONE, Ring, Row};
use killick::reference;

use crate::support::gpu::{Produced, buffer, each_implementation, entries, held, try_run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare_bits, passes, rejects};
use crate::support::random::Random;
use crate::support::text::{pick, random_ids, random_policy};

/// Keys, values and what the cache held before.
struct Case {
    rows: Vec<Row>,
    kv_dim: usize,
    k: Vec<f32>,       // (rows, kv_dim)
    v: Vec<f32>,       // (rows, kv_dim)
    k_cache: Vec<f32>, // (slots, kv_dim)
    v_cache: Vec<f32>, // (slots, kv_dim)
}

impl Case {
    fn new(rows: Vec<Row>, slots: usize, kv_dim: usize) -> Self {
        let n = rows.len();
        Self {
            rows,
            kv_dim,
            k: held(&numbers(1, n, kv_dim)),
            v: held(&numbers(2, n, kv_dim)),
            k_cache: held(&numbers(3, slots, kv_dim)),
            v_cache: held(&numbers(4, slots, kv_dim)),
        }
    }

    fn produce(&self, n: usize) -> [Produced; 2] {
        let (rows, k, v) =
            (buffer("rows", &self.rows), entries("k chunk", &self.k), entries("v chunk", &self.v));
        let (k_cache, v_cache) = (entries("k cache", &self.k_cache), entries("v cache", &self.v_cache));
        let io = KvWrite { rows: &rows, k_chunk: &k, v_chunk: &v, k_cache: &k_cache, v_cache: &v_cache };
        let (n, kv_dim) = (n as u32, self.kv_dim as u32);
        try_run(&[&k_cache, &v_cache], |rec| kv_write::record(rec, io, n, kv_dim))
            .unwrap()
            .try_into()
            .unwrap()
    }

    fn want(&self) -> [Vec<f32>; 2] {
        [(&self.k, &self.k_cache), (&self.v, &self.v_cache)].map(|(chunk, cache)| {
            let mut cache = cache.clone();
            reference::kv_write(&self.rows, chunk, self.kv_dim, &mut cache);
            cache
        })
    }

    fn check(&self, case: &str) {
        let case = format!("{case} ({}x{})", self.rows.len(), self.kv_dim);
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
                Case::new(rows, 2 * slots as usize, [4, 48, 192, 260][round % 4]).check("chunk");
            }
        }
    });
}

#[test]
fn every_mixture_of_homes_matches_the_reference() {
    each_implementation("kv_write", |_| {
        let rows = vec![row(0, NONE), row(NONE, NONE), row(NONE, 5), row(3, 4), row(2, NONE)];
        for kv_dim in [4, 252, 256, 260] {
            Case::new(rows.clone(), 7, kv_dim).check("mixture");
        }
        // More slots than a texture is high.
        Case::new(vec![row(8191, NONE), row(8192, 8999), row(0, 8193)], 9000, 192).check("many slots");
        Case::new(vec![row(NONE, NONE); 9], 2, 8).check("no home at all");
        Case::new(vec![], 2, 8).check("no row");
    });
}

#[test]
fn the_check_rejects_faults() {
    each_implementation("kv_write", |_| {
        let rows: Vec<Row> = (0..70).map(|r| row(2 * r, if r % 3 == 0 { 2 * r + 1 } else { NONE })).collect();
        let right = Case::new(rows.clone(), 140, 20);
        right.check("all rows");
        let want = right.want();
        right.rejected("last workgroup missing", 69, &want);
        right.rejected("off-by-one row", 70, &want.each_ref().map(|cache| off_by_one_row(cache, 20)));
        right.rejected("two lanes swapped", 70, &want.each_ref().map(|cache| swap_two(cache)));
        let fault = |name, change: &dyn Fn(&mut Vec<Row>)| {
            let mut wrong = Case::new(rows.clone(), 140, 20);
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
        let mut swapped = Case::new(rows.clone(), 140, 20);
        core::mem::swap(&mut swapped.k, &mut swapped.v);
        swapped.rejected("keys and values swapped", 70, &want);
    });
}
