//! `attention`: rows and slots of a real ring, single steps and prompt chunks, against the walk of the ring and against
//! the mask of the whole text.

mod splits;

use killick::kernels::KvFormat;
use killick::kernels::attention::{self, Attention};
use killick::kv::{Chunk, Policy, Ring, RingLayout, Row};
use killick::model_file::{Heads, Scoring};
use killick::reference::{self, Cache};

use crate::support::gpu::{
    POISON, Produced, buffer, each_implementation, entries, held, input_rows, layout_of_entries, output, run,
    share, thorough,
};
use crate::support::inputs::{numbers, off_by_one_row};
use crate::support::numerics::{compare, compare_row_sums, passes, rejects};
use crate::support::random::Random;
use crate::support::skip::skipped;
use crate::support::text::{HEADS, ONES, Text, pick, presets, random_ids, random_policy};

/// Steps that share one dispatch: what the spare slots of the ring allow.
const IN_FLIGHT: u32 = 8;
/// Shares that keys are split into, by the number of rows: none, as many as a decode step may have, a number that divides little.
const SPLITS: [u32; 3] = [1, 16, 3];

/// A text whose keys and values are those that the layout at work holds.
fn text_of(policy: Policy, ids: Vec<u32>, heads: Heads) -> Text {
    let mut text = Text::new(policy, ids, heads);
    if layout_of_entries().format() == KvFormat::Q8_0 {
        // Values whose scales are powers of two, so that a 1 is held as it is; heads side by side and rows side by side have others.
        for (i, head) in text.v.chunks_mut(heads.head_dim as usize).enumerate() {
            let most = 127.0 / [64.0, 32.0, 16.0][(i + i / heads.n_kv_heads as usize) % 3];
            head.iter_mut().for_each(|value| *value = value.clamp(-most, most));
            head[0] = most;
        }
    }
    Text { k: held(&text.k, heads.head_dim), v: held(&text.v, heads.head_dim), ..text }
}

/// Some rows of a text, with all that one dispatch reads.
#[derive(Clone)]
struct Rows<'t> {
    text: &'t Text,
    layout: RingLayout,
    scoring: Scoring,
    first: usize,
    rows: Vec<Row>,
    chunk: Option<(Chunk, Vec<u32>)>,
    /// Shares of a row's keys, by the implementation that splits them.
    splits: u32,
    /// Keys that a share is worth.
    share: u32,
    k_cache: Vec<f32>,
    v_cache: Vec<f32>,
}

impl Rows<'_> {
    /// The part of (n, width) that belongs to these rows.
    fn part<'a>(&self, values: &'a [f32], width: u32) -> &'a [f32] {
        &values[self.first * width as usize..][..self.rows.len() * width as usize]
    }

    fn produce(&self) -> Produced {
        let heads = self.text.heads;
        let n = self.rows.len();
        let out = output("out", n * heads.q_dim() as usize);
        let rows = buffer("rows", &self.rows);
        let q = input_rows("q", self.part(&self.text.q, 2 * heads.q_dim()));
        let entries = |label, values: &[f32]| entries(label, values, heads.head_dim);
        let (k_cache, v_cache) = (entries("k cache", &self.k_cache), entries("v cache", &self.v_cache));
        let in_chunk = |values| if self.chunk.is_some() { self.part(values, heads.kv_dim()) } else { &[] };
        let k_chunk = entries("k chunk", in_chunk(&self.text.k));
        let v_chunk = entries("v chunk", in_chunk(&self.text.v));
        let anchors = self.chunk.as_ref().map_or(&[][..], |(_, anchors)| anchors);
        let chunk_anchors = buffer("chunk anchors", anchors);
        let parts = output("parts", attention::parts_bytes(n as u32, heads, self.splits) as usize / 4);
        let io = Attention {
            rows: &rows,
            q: &q,
            k_cache: &k_cache,
            v_cache: &v_cache,
            k_chunk: &k_chunk,
            v_chunk: &v_chunk,
            chunk_anchors: &chunk_anchors,
            parts: &parts,
            splits: self.splits,
            share: self.share,
            out: &out,
        };
        let chunk = self.chunk.as_ref().map(|(chunk, _)| chunk);
        run(&out, |rec| attention::record(rec, io, n as u32, (heads, self.scoring), &self.layout, chunk))
    }

    fn want(&self) -> Vec<f64> {
        let heads = self.text.heads;
        let cache = Cache {
            k: &self.k_cache,
            v: &self.v_cache,
            k_chunk: self.part(&self.text.k, heads.kv_dim()),
            v_chunk: self.part(&self.text.v, heads.kv_dim()),
        };
        let q = self.part(&self.text.q, 2 * heads.q_dim());
        let chunk = self.chunk.as_ref().map(|(chunk, anchors)| (chunk, &anchors[..]));
        reference::attention(&self.rows, q, cache, (heads, self.scoring), &self.layout, chunk)
    }

    /// Against the walk, against the mask, and every row of weights sums to 1.
    fn check(&self, masked: &[f64]) {
        let heads = self.text.heads;
        let (n, q_dim) = (self.rows.len(), heads.q_dim() as usize);
        let got = self.produce();
        let kind = if self.chunk.is_some() { "chunk" } else { "steps" };
        let case = format!("{kind} of {n} from {} {}", self.first, self.text.name());
        passes("attention", &case, &got, compare("attention", &got, &self.want()));
        let masked = &masked[self.first * q_dim..][..n * q_dim];
        passes("attention", &format!("{case}, by the mask"), &got, compare("attention", &got, masked));
        let sums = compare_row_sums(&got, n * heads.n_heads as usize, heads.head_dim as usize, ONES);
        passes("attention", &format!("{case}, row sums"), &got, sums);
    }
}

/// Sends a text through a ring, `ops` at a time: positive numbers are steps, negative ones a chunk.
fn walk(text: &Text, ops: impl FnMut() -> i32, mut each: impl FnMut(Rows<'_>)) {
    let mut ops = ops;
    let kv_dim = text.heads.kv_dim() as usize;
    let mut ring = Ring::new(&text.policy, IN_FLIGHT).unwrap();
    let layout = *ring.layout();
    // What was never written is a NaN that no result may show.
    // The text is the second of its pool.
    let base = layout.slots();
    let mut k_cache = vec![f32::from_bits(POISON); 2 * base as usize * kv_dim];
    let mut v_cache = k_cache.clone();
    let mut first = 0;
    while first < text.ids.len() {
        let op = ops();
        let n = (op.unsigned_abs() as usize).min(text.ids.len() - first);
        let ids = &text.ids[first..first + n];
        let mut rows = vec![Row::default(); n];
        let mut chunk = None;
        if op > 0 {
            for (row, id) in rows.iter_mut().zip(ids) {
                *row = ring.step(*id).unwrap();
            }
        } else {
            let mut anchors = vec![0; n];
            let made = ring.chunk(ids, &mut rows, &mut anchors).unwrap();
            anchors.truncate(made.anchors as usize);
            chunk = Some((made, anchors));
        }
        rows.iter_mut().for_each(|row| row.base = base);
        // A chunk is attended before its rows reach the cache, single steps after.
        let write = |k_cache: &mut [f32], v_cache: &mut [f32]| {
            reference::kv_write(&rows, &text.k[first * kv_dim..][..n * kv_dim], kv_dim, k_cache);
            reference::kv_write(&rows, &text.v[first * kv_dim..][..n * kv_dim], kv_dim, v_cache);
        };
        let in_chunk = chunk.is_some();
        if !in_chunk {
            write(&mut k_cache, &mut v_cache);
        }
        each(Rows {
            text,
            layout,
            scoring: text.scoring,
            first,
            rows: rows.clone(),
            chunk,
            splits: SPLITS[n % SPLITS.len()],
            share: 1,
            k_cache: k_cache.clone(),
            v_cache: v_cache.clone(),
        });
        if in_chunk {
            write(&mut k_cache, &mut v_cache);
        }
        first += n;
    }
}

#[test]
fn random_policies_match_the_ring_and_the_mask() {
    each_implementation("attention", |_| {
        let mut random = Random(2026);
        for round in 0..share(45, 10) {
            let (policy, ids) = (random_policy(&mut random), random_ids(&mut random, 110));
            let mut text = text_of(policy, ids, HEADS[round % HEADS.len()]);
            text.scoring.cap = pick(&mut random, &[0.0, 0.0, 2.0]);
            let masked = text.masked();
            let ops = || pick(&mut random, &[1, 3, 8, 8, -1, -7, -13, -40]);
            walk(&text, ops, |rows| rows.check(&masked));
        }
    });
}

#[test]
fn every_preset_matches_over_several_tiles_of_keys() {
    each_implementation("attention", |_| {
        let mut random = Random(7);
        for policy in presets() {
            let ids = (0..300).map(|_| random.below(9) as u32).collect();
            let text = text_of(policy, ids, Heads { n_heads: 6, n_kv_heads: 2, head_dim: 16 });
            let masked = text.masked();
            for ops in [&[-150, 8, 5, -33][..], &[8], &[-300], &[-64]].into_iter().take(share(4, 1)) {
                let mut ops = ops.iter().copied().cycle();
                walk(&text, || ops.next().unwrap(), |rows| rows.check(&masked));
            }
        }
    });
}

#[test]
fn more_rows_and_heads_than_one_dimension_has_workgroups() {
    each_implementation("attention", |_| {
        if !thorough() {
            skipped(
                "attention of more rows and heads than one dimension has workgroups",
                "asked where a step is thorough (KILLICK_THOROUGH=1)",
            );
            return;
        }
        let window = Policy { window: 2, ..presets()[4].clone() };
        let text = text_of(window, vec![5; 2050], Heads { n_heads: 32, n_kv_heads: 4, head_dim: 4 });
        let masked = text.masked();
        walk(&text, || -2050, |rows| rows.check(&masked));
    });
}

#[test]
fn more_slots_than_a_texture_is_high() {
    each_implementation("attention", |_| {
        let policy = Policy { window: 9000, ..presets()[4].clone() };
        let text = text_of(policy.clone(), vec![1; 3], HEADS[1]);
        let layout = *Ring::new(&policy, IN_FLIGHT).unwrap().layout();
        let row = |pos| Row { pos, live_first: pos - 20, n_keys: 21, ..Row::default() };
        let cache = |seed| {
            held(&numbers(seed, layout.slots() as usize, HEADS[1].kv_dim() as usize), HEADS[1].head_dim)
        };
        let rows = [8195, 8210, 8999].map(row).to_vec();
        let (k_cache, v_cache) = (cache(1), cache(2));
        let scoring = text.scoring;
        let chunk = None;
        let rows = Rows {
            text: &text,
            layout,
            scoring,
            first: 0,
            rows,
            chunk,
            splits: 2,
            share: 1,
            k_cache,
            v_cache,
        };
        let got = rows.produce();
        passes("attention", "slots beyond 8,192", &got, compare("attention", &got, &rows.want()));
    });
}

#[test]
fn no_row_is_nothing_to_do() {
    each_implementation("attention", |_| {
        let text = text_of(presets()[0].clone(), vec![1; 8], HEADS[0]);
        walk(
            &text,
            || 8,
            |mut rows| {
                rows.rows.clear();
                let got = rows.produce();
                passes("attention", "no row", &got, compare("attention", &got, &[]));
            },
        );
    });
}

/// The dispatch of `op` that starts at `first`, of a text with anchors, sinks and a window all in use.
fn with_rows(first: usize, op: i32, test: impl Fn(Rows<'_>, &[f64])) {
    with_rows_of(None, 0.0, first, op, test);
}

/// The same in a layer with a window of its own, with scores bent to stay within a cap.
fn with_rows_of(layer_window: Option<u32>, cap: f32, first: usize, op: i32, test: impl Fn(Rows<'_>, &[f64])) {
    let policy = Policy {
        seg_rule: true,
        isolated: true,
        sinks: 3,
        window: 6,
        max_distance: 30,
        max_segment: 9,
        layer_window,
        ..presets()[1].clone()
    };
    let ids: Vec<u32> = (0..80).map(|i| u32::from(i % 7 != 4)).collect();
    let mut text = text_of(policy, ids, Heads { n_heads: 4, n_kv_heads: 2, head_dim: 64 });
    text.scoring.cap = cap;
    let masked = text.masked();
    let mut pos = 0;
    let mut met = false;
    // Steps up to `first`, then `op`, then steps again.
    let next = || {
        let n = if pos == first { op } else { 8.min(first.wrapping_sub(pos)) as i32 };
        pos += n.unsigned_abs() as usize;
        n
    };
    walk(&text, next, |rows| {
        if rows.first == first {
            let q_dim = text.heads.q_dim() as usize;
            rows.check(&masked);
            met = true;
            test(rows.clone(), &masked[first * q_dim..][..rows.rows.len() * q_dim]);
        }
    });
    assert!(met, "no dispatch starts at {first}");
}

/// Of a row whose last key is its own; some implementations count, others go by the position.
fn drop_last_key(row: &mut Row) {
    row.n_keys -= 1;
    row.pos -= 1;
}

#[test]
fn the_check_rejects_faults_of_single_steps() {
    each_implementation("attention", |_| {
        with_rows(60, 8, |right, want| {
            let fault = |name: &str, change: &dyn Fn(&mut Rows<'_>)| {
                let mut wrong = right.clone();
                change(&mut wrong);
                let got = wrong.produce();
                rejects("attention", name, &got, compare("attention", &got, want));
            };
            fault("last key dropped", &|rows| rows.rows.iter_mut().for_each(drop_last_key));
            fault("one row without its last key", &|rows| drop_last_key(&mut rows.rows[5]));
            fault("off-by-one row", &|rows| rows.rows.rotate_left(1));
            fault("a row of another text", &|rows| rows.rows[3].base -= 1);
            fault("a window one wider", &|rows| {
                rows.rows
                    .iter_mut()
                    .for_each(|row| (row.live_first, row.n_keys) = (row.live_first - 1, row.n_keys + 1));
            });
            fault("an isolated anchor that sees anchors", &|rows| {
                let free = rows.rows.iter().find(|row| row.is_anchor == 0).unwrap().anchor_end;
                let anchor = rows.rows.iter_mut().find(|row| row.is_anchor == 1).unwrap();
                anchor.n_keys += free - anchor.anchor_end;
                anchor.anchor_end = free;
            });
            fault("live ring of another capacity", &|rows| rows.layout.live_cap -= 1);
            fault("anchor ring of another capacity", &|rows| rows.layout.anchor_cap -= 1);
            fault("a key under a scale a little larger", &|rows| {
                let kv_dim = rows.text.heads.kv_dim() as usize;
                let slot = (rows.rows[6].base + rows.rows[6].live_slot) as usize;
                rows.k_cache[slot * kv_dim..][..kv_dim].iter_mut().for_each(|key| *key *= 1.02);
            });
            fault("a value under the scale of another head", &|rows| {
                let heads = rows.text.heads;
                let slot = (rows.rows[6].base + rows.rows[6].live_slot) * heads.kv_dim();
                let head = &mut rows.v_cache[slot as usize..][..heads.head_dim as usize];
                head.iter_mut().for_each(|value| *value *= 2.0);
            });
            fault("a stale key", &|rows| {
                let kv_dim = rows.text.heads.kv_dim() as usize;
                let slot = (rows.rows[6].base + rows.rows[6].live_slot) as usize;
                let stale = rows.text.k[..kv_dim].to_vec();
                rows.k_cache[slot * kv_dim..][..kv_dim].copy_from_slice(&stale);
            });
            fault("a stale anchor value", &|rows| {
                let kv_dim = rows.text.heads.kv_dim() as usize;
                let slot = (rows.rows[7].base + rows.layout.anchor_slot(rows.rows[7].anchor_first)) as usize;
                let stale = rows.text.v[..kv_dim].to_vec();
                rows.v_cache[slot * kv_dim..][..kv_dim].copy_from_slice(&stale);
            });
            fault("keys and values swapped", &|rows| core::mem::swap(&mut rows.k_cache, &mut rows.v_cache));
            fault("last workgroups missing", &|rows| rows.rows.truncate(7));

            let got = right.produce();
            let head = off_by_one_row(want, right.text.heads.head_dim as usize);
            rejects("attention", "off-by-one head", &got, compare("attention", &got, &head));
            let dim = right.text.heads.head_dim as usize;
            let weights = compare_row_sums(&got, 8 * 4, dim, ONES + 1);
            rejects("attention", "row sums of another column", &got, weights);
        });
    });
}

#[test]
fn the_check_rejects_the_wrong_rotation_for_pinned_keys() {
    each_implementation("attention", |_| {
        with_rows(60, 8, |right, want| {
            let mut q = right.text.q.clone();
            let q_dim = right.text.heads.q_dim() as usize;
            q.chunks_mut(2 * q_dim).for_each(|both| both.copy_within(..q_dim, q_dim));
            let text = Text {
                q,
                k: right.text.k.clone(),
                v: right.text.v.clone(),
                ..text_of(right.text.policy.clone(), right.text.ids.clone(), right.text.heads)
            };
            let got = Rows { text: &text, ..right }.produce();
            rejects("attention", "pinned keys read at the position", &got, compare("attention", &got, want));
        });
    });
}

/// Rows that see pinned keys, anchors and live keys through a window that cuts into all three at one row or another.
#[test]
fn the_check_rejects_faults_of_a_layers_own_window_and_cap() {
    each_implementation("attention", |_| {
        // The last window cuts into the anchors alone.
        for (window, first, op) in [(12, 12, 8), (4, 60, 8), (18, 20, -20), (18, 60, 8)] {
            let cuts_anchors = window == 18 && first == 60;
            with_rows_of(Some(window), 1.5, first, op, |right, want| {
                let fault = |name: &str, change: &dyn Fn(&mut Rows<'_>)| {
                    let mut wrong = right.clone();
                    change(&mut wrong);
                    let got = wrong.produce();
                    rejects("attention", name, &got, compare("attention", &got, want));
                };
                fault("no window of its own", &|rows| rows.scoring.near = false);
                fault("no cap", &|rows| rows.scoring.cap = 0.0);
                fault("another cap", &|rows| rows.scoring.cap = 1.6);
                fault("another scale", &|rows| rows.scoring.scale *= 1.1);
                if !cuts_anchors {
                    fault("positions one further back", &|rows| {
                        rows.rows.iter_mut().for_each(|row| row.near_first -= 1);
                    });
                } else {
                    fault("an anchor further back", &|rows| {
                        rows.rows.iter_mut().for_each(|row| {
                            row.near_anchor = row.near_anchor.saturating_sub(1).max(row.anchor_first);
                        });
                    });
                }
            });
        }
    });
}

#[test]
fn the_check_rejects_faults_of_chunks() {
    each_implementation("attention", |_| {
        with_rows(40, -20, |right, want| {
            let fault = |name: &str, change: &dyn Fn(&mut Rows<'_>)| {
                let mut wrong = right.clone();
                change(&mut wrong);
                let got = wrong.produce();
                rejects("attention", name, &got, compare("attention", &got, want));
            };
            fault("chunk one position later", &|rows| rows.chunk.as_mut().unwrap().0.start += 1);
            fault("one more anchor before the chunk", &|rows| {
                rows.chunk.as_mut().unwrap().0.anchors_before += 1;
            });
            fault("anchor rows swapped", &|rows| rows.chunk.as_mut().unwrap().1.swap(0, 1));
            fault("cache read for the chunk", &|rows| rows.chunk = None);
            fault("last key dropped", &|rows| rows.rows.iter_mut().for_each(drop_last_key));
            fault("a stale anchor key", &|rows| {
                let kv_dim = rows.text.heads.kv_dim() as usize;
                let slot = (rows.rows[0].base + rows.layout.anchor_slot(rows.rows[0].anchor_first)) as usize;
                let stale = rows.text.k[..kv_dim].to_vec();
                rows.k_cache[slot * kv_dim..][..kv_dim].copy_from_slice(&stale);
            });
        });
    });
}
