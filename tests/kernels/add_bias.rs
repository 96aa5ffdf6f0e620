//! `add_bias`: rows of every width and number, in place.

use killick::kernels::add_bias;
use killick::reference;

use crate::support::gpu::{Produced, buffer, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

fn produce(bias: &[f32], out: &[f32], rows: usize) -> Produced {
    let (bias, out, cols) = (buffer("bias", bias), buffer("out", out), bias.len() as u32);
    run(&out, |rec| add_bias::record(rec, &bias, &out, rows as u32, cols))
}

#[test]
fn matches_the_reference() {
    for (rows, cols) in [(1, 4), (0, 8), (3, 12), (1, 252), (2, 256), (3, 260), (257, 288), (5, 4096)] {
        let (bias, out) = (numbers(1, 1, cols), numbers(2, rows, cols));
        let got = produce(&bias, &out, rows);
        let want = reference::add_bias(&bias, &out);
        passes("add_bias", &format!("({rows}x{cols})"), &got, compare("add_bias", &got, &want));
    }
}

#[test]
fn more_workgroups_than_one_dimension_has() {
    let (bias, out) = (numbers(3, 1, 4), numbers(4, 65_535 * 64 + 3, 4));
    if crate::support::gpu::gpu().max_binding_bytes() < out.len() as u64 * 4 + 4096 {
        skipped("add_bias (many rows)", "it does not fit a binding of this device");
        return;
    }
    let got = produce(&bias, &out, out.len() / 4);
    let want = reference::add_bias(&bias, &out);
    passes("add_bias", "(4194243x4)", &got, compare("add_bias", &got, &want));
}

#[test]
fn the_check_rejects_faults() {
    let (cols, rows) = (260, 5);
    let (bias, out) = (numbers(5, 1, cols), numbers(6, rows, cols));
    let want = reference::add_bias(&bias, &out);
    let got = produce(&bias, &out, rows);
    for (fault, wrong) in [
        ("no bias", out.iter().map(|value| f64::from(*value)).collect()),
        ("off-by-one row", off_by_one_row(&want, cols)),
        ("two biases swapped", reference::add_bias(&swap_two(&bias), &out)),
        ("added twice", reference::add_bias(&bias.iter().map(|b| 2.0 * b).collect::<Vec<_>>(), &out)),
    ] {
        rejects("add_bias", fault, &got, compare("add_bias", &got, &wrong));
    }
    let got = produce(&bias, &out, rows - 1);
    rejects("add_bias", "last row missing", &got, compare("add_bias", &got, &want));
}
