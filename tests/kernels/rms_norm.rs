//! `rms_norm`: rows of every width and number.

use killick::kernels::Update;
use killick::kernels::rms_norm::{self, RmsNorm};
use killick::reference::{self, Matrix};

use crate::support::gpu::{Produced, buffer, output, run};
use crate::support::inputs::{drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};

const EPS: f32 = 1e-5;

fn produce(x: &[f32], gain: &[f32], rows: usize, eps: f32) -> Produced {
    let dim = gain.len();
    let out = output("out", x.len());
    let (x, gain) = (buffer("x", x), buffer("gain", gain));
    let io = RmsNorm { x: &x, gain: &gain, out: &out };
    run(&out, |rec| rms_norm::record(rec, io, rows as u32, dim as u32, eps, Update::Replace))
}

fn check(rows: usize, dim: usize) {
    let (x, gain) = (numbers(dim as u64, rows, dim), numbers(dim as u64 + 1, 1, dim));
    let got = produce(&x, &gain, rows, EPS);
    let want = reference::rms_norm(Matrix::new(&x, rows, dim), &gain, EPS);
    passes("rms_norm", &format!("({rows}x{dim})"), &got, compare("rms_norm", &got, &want));
}

#[test]
fn matches_the_reference() {
    for (rows, dim) in [
        (1, 4),
        (0, 8),
        (3, 12),
        (1, 252),
        (2, 256),
        (3, 260),
        (257, 288),
        (5, 576),
        (3, 1028),
        (2, 4096),
        (1, 8192),
    ] {
        check(rows, dim);
    }
}

/// Onto what lies there.
#[test]
fn the_residual_variant_adds() {
    for (rows, dim) in [(1, 4), (3, 260), (5, 576), (2, 4096)] {
        let (x, gain) = (numbers(dim as u64, rows, dim), numbers(dim as u64 + 1, 1, dim));
        let before = numbers(dim as u64 + 2, rows, dim);
        let on_device = buffer("out", &before);
        let (x_buffer, gain_buffer) = (buffer("x", &x), buffer("gain", &gain));
        let io = RmsNorm { x: &x_buffer, gain: &gain_buffer, out: &on_device };
        let got = run(&on_device, |rec| rms_norm::record(rec, io, rows as u32, dim as u32, EPS, Update::Add));
        let alone = reference::rms_norm(Matrix::new(&x, rows, dim), &gain, EPS);
        let want: Vec<f64> = alone.iter().zip(&before).map(|(norm, x)| norm + f64::from(*x)).collect();
        passes("rms_norm", &format!("({rows}x{dim}) added"), &got, compare("rms_norm", &got, &want));
        rejects("rms_norm", "not added", &got, compare("rms_norm", &got, &alone));
    }
}

#[test]
fn more_rows_than_one_dimension_has_workgroups() {
    check(70_000, 4);
}

#[test]
fn the_check_rejects_faults() {
    for dim in [64, 8192] {
        let (x, gain) = (numbers(1, 5, dim), numbers(2, 1, dim));
        let matrix = Matrix::new(&x, 5, dim);
        let want = reference::rms_norm(matrix, &gain, EPS);
        let got = produce(&x, &gain, 5, EPS);
        let dropped = drop_last_column(&x, dim);
        for (fault, wrong) in [
            ("last term dropped", reference::rms_norm(Matrix::new(&dropped, 5, dim), &gain, EPS)),
            ("off-by-one row", off_by_one_row(&want, dim)),
            ("two lanes swapped", swap_two(&want)),
            ("two gains swapped", reference::rms_norm(matrix, &swap_two(&gain), EPS)),
        ] {
            rejects("rms_norm", &format!("({dim}) {fault}"), &got, compare("rms_norm", &got, &wrong));
        }
        let got = produce(&x, &gain, 4, EPS);
        rejects("rms_norm", "last workgroup missing", &got, compare("rms_norm", &got, &want));
    }
    // Only small rows show whether eps is added, and whether inside the root.
    let small: Vec<f32> = numbers(3, 2, 64).iter().map(|x| x * 1e-3).collect();
    let gain = numbers(4, 1, 64);
    let got = produce(&small, &gain, 2, EPS);
    let matrix = Matrix::new(&small, 2, 64);
    let want = reference::rms_norm(matrix, &gain, EPS);
    passes("rms_norm", "small rows", &got, compare("rms_norm", &got, &want));
    let without = reference::rms_norm(matrix, &gain, 0.0);
    rejects("rms_norm", "without eps", &got, compare("rms_norm", &got, &without));
}
