//! `attention_join`: shares with keys and without, near each other and far apart, made one.

use killick::kernels::{attention, attention_join};
use killick::model_file::Heads;
use killick::reference;

use crate::support::gpu::{POISON, Produced, buffer, output, run};
use crate::support::inputs::{numbers, off_by_one_row};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::random::Random;
use crate::support::text::HEADS;

/// What `attention_split` writes where a share has no key.
const NO_KEY: f32 = -3.0e38;

/// Shares of `rows` rows: values, largest score, sum of weights. Of each row and head at least one has a key.
fn parts(rows: usize, heads: Heads, splits: usize) -> Vec<f32> {
    let (of_heads, width) = (rows * heads.n_heads as usize, heads.head_dim as usize + 2);
    let mut random = Random((rows * splits) as u64);
    let mut parts = numbers(width as u64, of_heads * splits, width);
    for (i, of_head) in parts.chunks_mut(splits * width).enumerate() {
        // Now and then only the first or the last has keys, or only some have.
        let kept = random.below(splits as u64) as usize;
        let kind = random.below(4);
        for (s, part) in of_head.chunks_mut(width).enumerate() {
            let has_keys = match kind {
                0 => true,
                1 => s == kept,
                _ => s == kept || random.below(2) == 0,
            };
            let [values @ .., top, total] = part else { panic!("a part of {width}") };
            if has_keys {
                // Scores near each other, or so far apart that one share decides.
                *top = random.uniform() * if i % 3 == 0 { 60.0 } else { 2.0 };
                *total = 1.0 + random.below(500) as f32 * random.uniform().abs();
            } else {
                values.fill(0.0);
                (*top, *total) = (NO_KEY, 0.0);
            }
        }
    }
    parts
}

fn produce(parts: &[f32], rows: usize, heads: Heads, splits: usize) -> Produced {
    let (rows, splits) = (rows as u32, splits as u32);
    assert_eq!(parts.len() as u64 * 4, attention::parts_bytes(rows, heads, splits));
    let (parts, out) = (buffer("parts", parts), output("out", (rows * heads.q_dim()) as usize));
    run(&out, |rec| attention_join::record(rec, &parts, &out, rows, heads, splits))
}

fn twin(parts: &[f32], rows: usize, heads: Heads, splits: usize) -> Vec<f64> {
    reference::attention_join(parts, rows * heads.n_heads as usize, splits, heads.head_dim as usize)
}

fn check(rows: usize, heads: Heads, splits: usize) {
    let parts = parts(rows, heads, splits);
    let got = produce(&parts, rows, heads, splits);
    let case = format!("({rows} rows, {} heads of {}, {splits} shares)", heads.n_heads, heads.head_dim);
    passes(
        "attention_join",
        &case,
        &got,
        compare("attention_join", &got, &twin(&parts, rows, heads, splits)),
    );
}

#[test]
fn matches_the_reference() {
    for heads in HEADS {
        for (rows, splits) in [(0, 2), (1, 1), (1, 2), (2, 16), (5, 7), (32, 4)] {
            check(rows, heads, splits);
        }
    }
}

#[test]
fn more_rows_and_heads_than_one_dimension_has_workgroups() {
    check(700, Heads { n_heads: 128, n_kv_heads: 2, head_dim: 4 }, 2);
}

#[test]
fn the_check_rejects_faults() {
    let heads = Heads { n_heads: 4, n_kv_heads: 2, head_dim: 64 };
    let (rows, splits, width) = (3, 4, 66);
    // Scores near each other, so that every share counts.
    let mut right = numbers(5, rows * 4 * splits, width);
    for (i, part) in right.chunks_mut(width).enumerate() {
        (part[64], part[65]) = ((i % 5) as f32 / 4.0, 1.0 + (i % 7) as f32);
    }
    let got = produce(&right, rows, heads, splits);
    let want = twin(&right, rows, heads, splits);
    passes("attention_join", "before the faults", &got, compare("attention_join", &got, &want));
    let reject = |name: &str, want: &[f64]| {
        rejects("attention_join", name, &got, compare("attention_join", &got, want));
    };
    // Faults of one share of one head, and what the twin makes of them.
    let fault = |name: &str, change: &dyn Fn(&mut [f32])| {
        let mut wrong = right.clone();
        change(&mut wrong[6 * width..7 * width]);
        reject(name, &twin(&wrong, rows, heads, splits));
    };
    fault("a share dropped", &|part| part.fill(0.0));
    fault("the values of a share dropped", &|part| part[..64].fill(0.0));
    fault("one value of a share dropped", &|part| part[63] = 0.0);
    fault("a sum of weights dropped", &|part| part[65] = 0.0);
    fault("a share under another score", &|part| part[64] += 0.1);
    fault("a share counted twice", &|part| part.iter_mut().for_each(|x| *x *= 2.0));
    reject("off-by-one head", &off_by_one_row(&want, 64));
    let mut swapped = right.clone();
    swapped.chunks_mut(width).for_each(|part| part.swap(64, 65));
    reject("score and sum swapped", &twin(&swapped, rows, heads, splits));

    let missing = produce(&right[..2 * 4 * splits * width], 2, heads, splits);
    rejects(
        "attention_join",
        "last workgroups missing",
        &missing,
        compare("attention_join", &missing, &want),
    );
    // What is no number is not left out, whichever share it is in.
    let mut poisoned = right.clone();
    poisoned[6 * width..7 * width].fill(f32::from_bits(POISON));
    let poisoned = produce(&poisoned, rows, heads, splits);
    rejects(
        "attention_join",
        "a share that is no number",
        &poisoned,
        compare("attention_join", &poisoned, &want),
    );
    let of_head = poisoned.floats(2 * 64);
    assert!(of_head[64..].iter().all(|x| !x.is_finite()), "a NaN was lost");
    assert!(of_head[..64].iter().all(|x| x.is_finite()), "another head's");
}
