//! `argmax`: rows of every size, ties, and an output that starts somewhere in the middle.

use killick::kernels::argmax;
use killick::reference::{self, Matrix};
use killick::sampling::NO_TOKEN;

use crate::support::gpu::{POISON, Produced, buffer, output, run};
use crate::support::inputs::{numbers, off_by_one_row};
use crate::support::numerics::{compare_words, passes, rejects};

const OFFSET: usize = 3;

fn produce(logits: &[f32], rows: usize, cols: usize) -> Produced {
    let (logits, out) = (buffer("logits", logits), output("out", OFFSET + rows));
    run(&out, |rec| argmax::record(rec, &logits, &out, rows as u32, cols as u32, OFFSET as u32))
}

fn want(logits: &[f32], rows: usize, cols: usize) -> Vec<u32> {
    [vec![POISON; OFFSET], reference::argmax(Matrix::new(logits, rows, cols))].concat()
}

fn check(case: &str, logits: &[f32], rows: usize, cols: usize) {
    let got = produce(logits, rows, cols);
    let result = compare_words("argmax", &got, &want(logits, rows, cols));
    passes("argmax", &format!("{case} ({rows}x{cols})"), &got, result);
}

#[test]
fn matches_the_reference() {
    for (rows, cols) in
        [(1, 1), (2, 3), (3, 63), (3, 64), (3, 65), (257, 129), (5, 4096), (3, 32_002), (2, 128_256), (0, 64)]
    {
        check("random", &numbers(rows as u64 + cols as u64, rows, cols), rows, cols);
    }
}

#[test]
fn more_rows_than_one_dimension_has_workgroups() {
    check("many rows", &numbers(1, 65_539, 3), 65_539, 3);
}

#[test]
fn the_lowest_of_equals_wins() {
    check("all equal", &[0.5; 2 * 300], 2, 300);
    check("all at the lowest number", &[f32::MIN; 200], 1, 200);
    check("zeros of both signs", &[0.0, -0.0, 0.0, -0.0].repeat(50), 1, 200);
    // In every pair of columns: the same lane, neighbouring lanes, the first and the last column.
    for (a, b) in [(0, 299), (5, 69), (69, 133), (70, 71), (63, 64), (64, 65), (127, 128), (3, 298)] {
        let mut logits = numbers(9, 1, 300);
        (logits[a], logits[b]) = (50.0, 50.0);
        check("two equal", &logits, 1, 300);
    }
}

#[test]
fn a_row_with_a_number_that_is_not_finite_has_no_likeliest_column() {
    for broken in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for column in [0, 63, 64, 299] {
            let mut logits = numbers(3, 3, 300);
            logits[300 + column] = broken;
            check(&format!("{broken} in column {column}"), &logits, 3, 300);
            let got = produce(&logits, 3, 300);
            assert_eq!(got.words[OFFSET + 1], NO_TOKEN);
            let ignored = want(&numbers(3, 3, 300), 3, 300);
            rejects("argmax", "broken row unseen", &got, compare_words("argmax", &got, &ignored));
        }
    }
    check("the largest and the lowest finite number", &[f32::MAX, f32::MIN, 0.0, f32::MAX], 1, 4);
}

#[test]
fn the_check_rejects_faults() {
    let mut logits = numbers(5, 70, 257);
    let got = produce(&logits, 70, 257);
    let rows = want(&logits, 70, 257);
    let shifted = [&rows[..OFFSET], &off_by_one_row(&rows[OFFSET..], 1)[..]].concat();
    rejects("argmax", "off-by-one row", &got, compare_words("argmax", &got, &shifted));
    let unmoved = [&rows[OFFSET..], &[POISON; OFFSET][..]].concat();
    rejects("argmax", "offset ignored", &got, compare_words("argmax", &got, &unmoved));
    let got = produce(&logits[..69 * 257], 69, 257);
    rejects("argmax", "last workgroup missing", &got, compare_words("argmax", &got, &rows));

    for r in 0..70 {
        (logits[r * 257 + 10], logits[r * 257 + 256]) = (50.0, 50.0);
    }
    let got = produce(&logits, 70, 257);
    let highest = [vec![POISON; OFFSET], vec![256; 70]].concat();
    rejects("argmax", "the highest of equals", &got, compare_words("argmax", &got, &highest));
    (0..70).for_each(|r| logits[r * 257 + 256] = 60.0);
    let got = produce(&logits, 70, 257);
    let early = [vec![POISON; OFFSET], vec![10; 70]].concat();
    rejects("argmax", "last column dropped", &got, compare_words("argmax", &got, &early));
}
