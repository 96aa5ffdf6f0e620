//! `rope`: every kind of position against 64-bit angles, both targets, pinned queries, heads that turn in part or not at all.

use killick::kernels::KvFormat;
use killick::kernels::rope::{self, Rope, Target};
use killick::kv::{MAX_POSITIONS, NONE, Row};
use killick::model_file::{Heads, Rotation};
use killick::reference::{self, Rotated};

use crate::support::gpu::{
    Produced, buffer, each_implementation, entries_out, gpu, layout_of_entries, output, try_run,
};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, compare_entries, passes, rejects};
use crate::support::skip::skipped;
use crate::support::text::HEADS;

const POSITIONS: [u32; 10] =
    [0, 1, 7, 1023, 1024, 1025, 65_535, 1_000_000, MAX_POSITIONS - 1024, MAX_POSITIONS - 1];
/// Slots of each of two texts.
const SLOTS: u32 = 23;

#[derive(Clone)]
struct Case {
    rows: Vec<Row>,
    qkv: Vec<f32>, // (rows, qkv_dim)
    heads: Heads,
    rotation: Rotation,
    target: Target,
}

/// `theta^(-2 d / columns)` for the first `columns` columns.
fn rotation(columns: u32, theta: f64) -> Rotation {
    let frequency = |d: u32| theta.powf(-2.0 * f64::from(d) / f64::from(columns));
    Rotation { frequencies: (0..columns / 2).map(frequency).collect(), magnitude: 1.0 }
}

/// One row per position, of two texts in turn; every third has two homes, every fifth none.
fn rows(max_distance: u32) -> Vec<Row> {
    let row = |(r, pos): (u32, u32)| Row {
        pos,
        pinned_query_pos: pos.min(max_distance - 1),
        live_slot: if r % 5 == 4 { NONE } else { 2 * r },
        anchor_slot: if r % 3 == 0 { 2 * r + 1 } else { NONE },
        base: r % 2 * SLOTS,
        ..Row::default()
    };
    (0..).zip(POSITIONS).map(row).collect()
}

/// Compares keys or values.
fn kept(heads: Heads, got: &Produced, want: &[f64]) -> Result<f64, String> {
    compare_entries("rope", (layout_of_entries().format(), heads.head_dim), got, want)
}

impl Case {
    fn new(heads: Heads, theta: f64, target: Target) -> Self {
        let rows = rows(2000);
        let qkv = numbers(u64::from(heads.qkv_dim()), rows.len(), heads.qkv_dim() as usize);
        Self { rows, qkv, heads, rotation: rotation(heads.head_dim, theta), target }
    }

    fn sizes(&self) -> [usize; 3] {
        let entries = match self.target {
            Target::Chunk => self.rows.len() as u32,
            Target::Cache => 2 * SLOTS,
        };
        let kv = (entries * self.heads.kv_dim()) as usize;
        [self.rows.len() * 2 * self.heads.q_dim() as usize, kv, kv]
    }

    /// q, k and v.
    fn produce(&self, n: usize) -> Vec<Produced> {
        let [q, k, v] = self.sizes();
        let head_dim = self.heads.head_dim;
        let (q, k, v) = (output("q", q), entries_out("k", k, head_dim), entries_out("v", v, head_dim));
        let (rows, qkv) = (buffer("rows", &self.rows), buffer("qkv", &self.qkv));
        let table = buffer("rope table", &rope::table(&self.rotation));
        let io = Rope { rows: &rows, qkv: &qkv, table: &table, q: &q, k: &k, v: &v };
        let rope_dim = self.rotation.rope_dim();
        try_run(&[&q, &k, &v], |rec| rope::record(rec, io, n as u32, self.heads, rope_dim, self.target))
            .unwrap()
    }

    fn want(&self) -> [Vec<f64>; 3] {
        let [mut q, mut k, mut v] = self.sizes().map(|n| vec![f64::NAN; n]);
        let out = Rotated { q: &mut q, k: &mut k, v: &mut v };
        reference::rope(&self.rows, &self.qkv, &self.rotation, self.heads, self.target, out);
        [q, k, v]
    }

    fn check(&self) {
        let Heads { n_heads, n_kv_heads, head_dim } = self.heads;
        for ((got, want), what) in self.produce(self.rows.len()).iter().zip(self.want()).zip(["q", "k", "v"])
        {
            let case = format!(
                "{what} to {:?} ({n_heads}:{n_kv_heads} heads of {head_dim}, {} turn)",
                self.target,
                self.rotation.rope_dim()
            );
            let compared =
                if what == "q" { compare("rope", got, &want) } else { kept(self.heads, got, &want) };
            passes("rope", &case, got, compared);
        }
    }
}

#[test]
fn matches_the_reference_at_every_position() {
    each_implementation("rope", |_| {
        for heads in HEADS {
            for (theta, target) in [(10_000.0, Target::Chunk), (500_000.0, Target::Cache)] {
                Case::new(heads, theta, target).check();
            }
        }
    });
}

#[test]
fn heads_that_turn_in_part_or_not_at_all() {
    each_implementation("rope", |_| {
        for (heads, columns) in [(HEADS[1], 12), (HEADS[4], 62), (HEADS[5], 2), (HEADS[3], 0)] {
            for target in [Target::Chunk, Target::Cache] {
                let mut case = Case::new(heads, 10_000.0, target);
                case.rotation = rotation(columns, 10_000.0);
                case.check();
            }
        }
    });
}

#[test]
fn frequencies_are_free_and_the_magnitude_counts_once() {
    each_implementation("rope", |_| {
        for (heads, target) in [(HEADS[4], Target::Chunk), (HEADS[2], Target::Cache)] {
            let mut case = Case::new(heads, 10_000.0, target);
            let frequencies = (0..heads.head_dim / 2).map(|d| 1.0 / f64::from(1 + d * d)).collect();
            case.rotation = Rotation { frequencies, magnitude: 1.25 };
            case.check();
            let got = case.produce(case.rows.len());
            case.rotation.magnitude = 1.25 * 1.25;
            let twice = case.want();
            rejects("rope", "magnitude twice", &got[0], compare("rope", &got[0], &twice[0]));
        }
        // What does not turn does not grow either.
        let mut case = Case::new(HEADS[1], 10_000.0, Target::Cache);
        case.rotation = Rotation { magnitude: 1.25, ..rotation(12, 10_000.0) };
        case.check();
    });
}

#[test]
fn one_row_and_no_row() {
    each_implementation("rope", |_| {
        let mut case = Case::new(HEADS[4], 10_000.0, Target::Cache);
        case.rows.truncate(1);
        case.check();
        case.rows.clear();
        case.check();
    });
}

#[test]
fn more_workgroups_than_one_dimension_has() {
    each_implementation("rope", |_| {
        if gpu().max_binding_bytes() < 40 << 20 {
            skipped("rope (16500 rows)", "it does not fit a binding of this device");
            return;
        }
        let heads = Heads { n_heads: 128, n_kv_heads: 1, head_dim: 4 };
        let mut case = Case::new(heads, 10_000.0, Target::Chunk);
        case.rows =
            (0..16_500).map(|pos| Row { pos, pinned_query_pos: pos.min(99), ..Row::default() }).collect();
        case.qkv = numbers(5, 16_500, heads.qkv_dim() as usize);
        case.check();
    });
}

#[test]
fn the_check_rejects_faults() {
    each_implementation("rope", |_| {
        let right = Case::new(HEADS[4], 10_000.0, Target::Cache);
        let (want, n) = (right.want(), right.rows.len());
        // Faults of the rows, as the device would be told them; `which` of q, k and v must show it.
        let fault = |name: &str, which: &[usize], change: &dyn Fn(&mut Case)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            let got = wrong.produce(n);
            for &i in which {
                let compared = if i == 0 {
                    compare("rope", &got[0], &want[0])
                } else {
                    kept(right.heads, &got[i], &want[i])
                };
                rejects("rope", name, &got[i], compared);
            }
        };
        fault("slot taken for the position", &[0, 1], &|case| {
            case.rows.iter_mut().filter(|row| row.live_slot != NONE).for_each(|row| row.pos = row.live_slot);
        });
        fault("one position too far", &[0, 1], &|case| case.rows[8].pos -= 1);
        fault("position for pinned keys ignored", &[0], &|case| {
            case.rows.iter_mut().for_each(|row| row.pinned_query_pos = row.pos);
        });
        fault("anchors without their second copy", &[1, 2], &|case| {
            case.rows.iter_mut().for_each(|row| row.anchor_slot = NONE);
        });
        fault("off-by-one row", &[0, 1, 2], &|case| {
            case.qkv = off_by_one_row(&case.qkv, case.heads.qkv_dim() as usize);
        });
        fault("another theta", &[0, 1], &|case| case.rotation = rotation(64, 10_001.0));
        fault("one pair of columns too few", &[0, 1], &|case| case.rotation = rotation(62, 10_000.0));
        fault("rows of another text", &[1, 2], &|case| case.rows.iter_mut().for_each(|row| row.base = 0));
        fault("chunk for cache", &[1, 2], &|case| {
            // Row r to slot r, as if the slots had not been looked at.
            case.rows.iter_mut().zip(0..).for_each(|(row, r)| (row.live_slot, row.anchor_slot) = (r, NONE));
        });

        let got = right.produce(n);
        for (i, (got, want)) in got.iter().zip(&want).take(2).enumerate() {
            let swapped = swap_halves(want, right.heads.head_dim as usize);
            let compared =
                if i == 0 { compare("rope", got, &swapped) } else { kept(right.heads, got, &swapped) };
            rejects("rope", "halves of a head swapped", got, compared);
        }
        rejects("rope", "two lanes swapped", &got[0], compare("rope", &got[0], &swap_two(&want[0])));
        let got = right.produce(n - 1);
        rejects("rope", "last workgroups missing", &got[0], compare("rope", &got[0], &want[0]));
    });
}

/// What is peculiar to a scale: whose it is, and how it ends where there is none.
#[test]
fn a_head_has_a_scale_of_its_own_and_zeros_stay_zeros() {
    each_implementation("rope", |_| {
        for (heads, target) in [(HEADS[4], Target::Chunk), (HEADS[5], Target::Cache)] {
            let mut case = Case::new(heads, 10_000.0, target);
            let dim = heads.head_dim as usize;
            // Of each row: keys and values that are zero, others a thousand times as large.
            for row in case.qkv.chunks_mut(heads.qkv_dim() as usize) {
                for of_kind in row[heads.q_dim() as usize..].chunks_mut(heads.kv_dim() as usize) {
                    of_kind[..dim].fill(0.0);
                    of_kind[dim..2 * dim].iter_mut().for_each(|x| *x *= 1000.0);
                }
            }
            case.check();
            let (got, want) = (case.produce(case.rows.len()), case.want());
            for (got, want) in got[1..].iter().zip(&want[1..]) {
                let firsts = got.words.chunks(dim).zip(want.chunks(dim)).step_by(heads.n_kv_heads as usize);
                for (got, want) in firsts.filter(|(_, want)| !want[0].is_nan()) {
                    assert!(got.iter().all(|word| *word << 1 == 0), "{got:x?}");
                    assert!(want.iter().all(|want| *want == 0.0));
                }
                if layout_of_entries().format() != KvFormat::Q8_0 {
                    continue;
                }
                rejects("rope", "no rounding", got, compare("rope", got, want));
                let whole = (KvFormat::Q8_0, heads.kv_dim());
                rejects("rope", "a scale of all heads", got, compare_entries("rope", whole, got, want));
                let halves = (KvFormat::Q8_0, heads.head_dim / 2);
                rejects("rope", "a scale of half a head", got, compare_entries("rope", halves, got, want));
            }
        }
    });
}

/// A byte says nothing of what is no number, so its scale must.
#[test]
fn a_head_with_what_is_no_number_is_none() {
    each_implementation("rope", |_| {
        for odd in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let heads = HEADS[4];
            let mut case = Case::new(heads, 10_000.0, Target::Chunk);
            let dim = heads.head_dim as usize;
            // The last column of the first key head and of the first value head.
            let (key, value) = (heads.q_dim() as usize, (heads.q_dim() + heads.kv_dim()) as usize);
            [key, value].iter().for_each(|head| case.qkv[head + dim - 1] = odd);
            for got in &case.produce(case.rows.len())[1..3] {
                let values = got.floats(2 * dim);
                assert!(!values[dim - 1].is_finite(), "{odd} became {}", values[dim - 1]);
                assert!(values[dim..].iter().all(|value| value.is_finite()), "the head beside it");
                if layout_of_entries().format() == KvFormat::Q8_0 {
                    assert!(values[..dim].iter().all(|value| value.is_nan()), "{:?}", &values[..dim]);
                }
            }
        }
    });
}

fn swap_halves(values: &[f64], dim: usize) -> Vec<f64> {
    let mut swapped = values.to_vec();
    swapped.chunks_mut(dim).for_each(|head| head.rotate_left(dim / 2));
    swapped
}
