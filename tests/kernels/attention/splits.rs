//! Decode steps over few keys and many, in few shares and many: whatever the number, each key counts once.

use killick::gpu::Recorder;

use super::*;
use crate::support::gpu::{by_implementation, try_run};

/// Slots for three pinned tokens, some anchors, and as many live tokens as the largest case sees.
fn policy() -> Policy {
    Policy { window: 2600, sinks: 3, max_anchors: 40, max_distance: 5000, ..presets()[2].clone() }
}

/// Keys of a row: pinned, anchors, live. One; fewer than shares; around a tile and a multiple of it; many, with and without anchors.
const KEYS: [[u32; 3]; 10] = [
    [0, 0, 1],
    [1, 0, 0],
    [3, 0, 2],
    [3, 4, 8],
    [0, 0, 63],
    [2, 33, 30],
    [3, 0, 65],
    [0, 40, 600],
    [3, 0, 1021],
    [3, 40, 2500],
];

/// A row that sees so many keys, in rings that have gone round.
fn row([pinned, anchors, live]: [u32; 3], base: u32) -> Row {
    let pos = if live > 0 { 7000 } else { pinned - 1 };
    let live_first = pos + 1 - live;
    Row {
        pos,
        pinned_end: pinned,
        anchor_first: 77,
        anchor_end: 77 + anchors,
        live_first: if live > 0 { live_first } else { 3 },
        n_keys: pinned + anchors + live,
        base,
        // A layer with a window of its own leaves out a third of each range.
        near_first: if live > 0 { live_first + live / 3 } else { pinned / 3 },
        near_anchor: 77 + anchors / 3,
        ..Row::default()
    }
}

/// A dispatch of rows that see so many keys, those of the second text of a pool.
fn rows_of(heads: Heads, keys: &[[u32; 3]], test: impl FnOnce(Rows<'_>)) {
    let policy = policy();
    let layout = *Ring::new(&policy, IN_FLIGHT).unwrap().layout();
    let text = text_of(policy, vec![1; keys.len()], heads);
    let slots = 2 * layout.slots();
    // Entries of a text as long as the pool, because that makes sound ones of every format.
    let entries = text_of(text.policy.clone(), vec![1; slots as usize], heads);
    let rows = keys.iter().map(|keys| row(*keys, layout.slots())).collect();
    let scoring = Scoring { near: false, ..text.scoring };
    let Text { k: k_cache, v: v_cache, .. } = entries;
    test(Rows {
        text: &text,
        layout,
        scoring,
        first: 0,
        rows,
        chunk: None,
        splits: 1,
        share: 1,
        k_cache,
        v_cache,
    });
}

#[test]
fn keys_in_any_number_of_shares_are_all_keys_once() {
    each_implementation("attention", |one| {
        let splits: &[u32] = if one.least_inputs > 1 { &[16, 1, 70, 2, 7] } else { &[16] };
        for heads in [HEADS[1], HEADS[4], HEADS[7], HEADS[8]].into_iter().take(share(4, 2)) {
            rows_of(heads, &KEYS, |mut rows| {
                for (near, cap) in [(false, 0.0), (true, 2.0)] {
                    (rows.scoring.near, rows.scoring.cap) = (near, cap);
                    let want = rows.want();
                    for splits in splits.iter().copied().take(share(5, 3)) {
                        rows.splits = splits;
                        let got = rows.produce();
                        let case = format!(
                            "{} rows in {splits} shares, {}:{} heads of {}, near {near}, cap {cap}",
                            rows.rows.len(),
                            heads.n_heads,
                            heads.n_kv_heads,
                            heads.head_dim
                        );
                        passes("attention", &case, &got, compare("attention", &got, &want));
                        let (n, dim) = (rows.rows.len() * heads.n_heads as usize, heads.head_dim as usize);
                        let sums = compare_row_sums(&got, n, dim, ONES);
                        passes("attention", &format!("{case}, row sums"), &got, sums);
                    }
                }
            });
        }
    });
}

/// What a row comes to goes by its own keys: more room for shares, which the host makes when it knows no better, changes no bit, and a row
/// of few keys comes to what one workgroup for all of them makes of it.
#[test]
fn a_row_is_worth_the_same_bits_whatever_room_there_is_for_shares() {
    each_implementation("attention", |one| {
        if one.least_inputs == 1 {
            return;
        }
        rows_of(HEADS[4], &KEYS, |mut rows| {
            rows.share = 330;
            for near in [false, true] {
                rows.scoring.near = near;
                // 2,543 keys are 8 shares.
                let bits = [8, 9, 16].map(|splits| {
                    rows.splits = splits;
                    rows.produce().words
                });
                assert!(bits.iter().all(|words| *words == bits[0]), "near {near}");
                rows.splits = 2;
                assert!(rows.produce().words != bits[0], "fewer shares make another sum of the last row");
                // The first eight rows have fewer than two shares' keys.
                let width = 8 * rows.text.heads.q_dim() as usize;
                let plain = by_implementation("attention", "attention", || rows.produce().words);
                assert!(plain[..width] == bits[0][..width], "one workgroup for all keys, near {near}");
            }
        });
    });
}

#[test]
fn the_check_rejects_faults_at_the_borders_of_shares() {
    each_implementation("attention", |_| {
        // 2,048 keys in 16 shares of 128, the last of which is nothing but live keys.
        rows_of(HEADS[4], &[[3, 40, 2005]; 2], |mut right| {
            (right.splits, right.share) = (16, 128);
            let want = right.want();
            let got = right.produce();
            passes("attention", "2,048 keys in 16 shares", &got, compare("attention", &got, &want));
            let fault = |name: &str, change: &dyn Fn(&mut Rows<'_>)| {
                let mut wrong = right.clone();
                change(&mut wrong);
                let got = wrong.produce();
                rejects("attention", name, &got, compare("attention", &got, &want));
            };
            let kv_dim = right.text.heads.kv_dim() as usize;
            // The slot of key number `key` of the second row.
            let slot = |key: u32| {
                let row = &right.rows[1];
                (row.base + right.layout.live_slot(row.live_first + key - 43)) as usize * kv_dim
            };
            fault("last key dropped", &|rows| rows.rows.iter_mut().for_each(drop_last_key));
            fault("a share's last keys dropped", &|rows| {
                rows.rows.iter_mut().for_each(|row| (row.n_keys, row.pos) = (row.n_keys - 65, row.pos - 65));
            });
            fault("first anchor dropped", &|rows| {
                rows.rows.iter_mut().for_each(|row| {
                    (row.anchor_first, row.near_anchor) = (row.anchor_first + 1, row.near_anchor + 1);
                    row.n_keys -= 1;
                });
            });
            for (name, key) in [("first", 128), ("last", 255)] {
                fault(&format!("the {name} value of a share that is another's"), &|rows| {
                    let other = rows.v_cache[slot(key + 128)..][..kv_dim].to_vec();
                    rows.v_cache[slot(key)..][..kv_dim].copy_from_slice(&other);
                });
                fault(&format!("the {name} key of a share that is another's"), &|rows| {
                    let other: Vec<f32> = rows.k_cache[slot(key)..][..kv_dim].iter().map(|x| -x).collect();
                    rows.k_cache[slot(key)..][..kv_dim].copy_from_slice(&other);
                });
            }
            fault("a value that is no number", &|rows| {
                rows.v_cache[slot(1000)..][..kv_dim].fill(f32::from_bits(POISON));
            });
        });
    });
}

/// What may be written is one share's place; what lies behind is watched.
#[test]
fn parts_are_written_and_nothing_behind_them() {
    each_implementation("attention", |one| {
        if one.least_inputs == 1 {
            return;
        }
        rows_of(HEADS[1], &KEYS, |rows| {
            let (heads, n, splits) = (rows.text.heads, rows.rows.len() as u32, 16);
            let words = attention::parts_bytes(n, heads, splits) as usize / 4;
            let (parts, out) = (output("parts", words), output("out", n as usize * heads.q_dim() as usize));
            let entries = |label, values: &[f32]| entries(label, values, heads.head_dim);
            let (rows_buffer, q) = (buffer("rows", &rows.rows), input_rows("q", &rows.text.q));
            let (k, v) = (entries("k cache", &rows.k_cache), entries("v cache", &rows.v_cache));
            let none = entries("chunk", &[]);
            let io = Attention {
                rows: &rows_buffer,
                q: &q,
                k_cache: &k,
                v_cache: &v,
                k_chunk: &none,
                v_chunk: &none,
                chunk_anchors: &buffer("chunk anchors", &[0_u32]),
                parts: &parts,
                splits,
                share: 1,
                out: &out,
            };
            let got =
                run(&parts, |rec| attention::record(rec, io, n, (heads, rows.scoring), &rows.layout, None));
            let (written, behind) = got.words.split_at(words);
            assert!(behind.iter().all(|word| *word == POISON), "behind the parts");
            assert!(written.iter().all(|word| f32::from_bits(*word).is_finite()), "a part was not written");
            // One key is one share, and the others know that they have none: the first row, its first head.
            let width = heads.head_dim as usize + 2;
            let totals = written.chunks(width).map(|part| f32::from_bits(part[width - 1]));
            let totals: Vec<f32> = totals.take(16).collect();
            assert!(totals[0] == 1.0 && totals[1..].iter().all(|total| *total == 0.0), "{totals:?}");
            // Too little memory is refused, not overrun.
            let short = output("parts", words - 300);
            let io = Attention { parts: &short, ..io };
            let record =
                |rec: &mut Recorder| attention::record(rec, io, n, (heads, rows.scoring), &rows.layout, None);
            let error = try_run(&[&out], record).unwrap_err();
            assert!(error.to_string().contains("bytes of parts"), "{error}");
        });
    });
}
