//! `soft_cap`: numbers in place, of every count, near zero and far beyond the bound.

use killick::kernels::soft_cap;
use killick::reference;

use crate::support::gpu::{Produced, buffer, gpu, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

fn produce(x: &[f32], count: usize, cap: f32) -> Produced {
    let x = buffer("x", x);
    run(&x, |rec| soft_cap::record(rec, &x, count as u32, cap))
}

fn check(x: &[f32], cap: f32) {
    let got = produce(x, x.len(), cap);
    let case = format!("({}) within {cap}", x.len());
    passes("soft_cap", &case, &got, compare("soft_cap", &got, &reference::soft_cap(x, cap)));
}

#[test]
fn matches_the_reference() {
    for count in [0, 1, 3, 63, 64, 65, 257, 49_153] {
        check(&numbers(count as u64, 1, count), 1.5);
        check(&numbers(count as u64, 1, count), 30.0);
    }
}

#[test]
fn more_workgroups_than_one_dimension_has() {
    let count = 65_535 * 64 + 3;
    if gpu().max_binding_bytes() < count as u64 * 4 + 4096 {
        skipped(&format!("soft_cap ({count})"), "it does not fit a binding of this device");
        return;
    }
    check(&numbers(3, 1, count), 2.0);
}

#[test]
fn numbers_far_beyond_the_bound_are_finite() {
    check(&[-3e38, -1e30, -4000.0, -31.0, -30.0, -1e-6, 0.0, 1e-6, 29.0, 31.0, 4000.0, 1e30, 3e38], 30.0);
}

#[test]
fn the_check_rejects_faults() {
    let x = numbers(1, 1, 1029);
    let want = reference::soft_cap(&x, 2.0);
    let got = produce(&x, 1029, 2.0);
    let plain: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    for (fault, wrong) in [
        ("no bound", plain),
        ("another bound", reference::soft_cap(&x, 2.1)),
        ("off-by-one element", off_by_one_row(&want, 1)),
        ("two lanes swapped", swap_two(&want)),
    ] {
        rejects("soft_cap", fault, &got, compare("soft_cap", &got, &wrong));
    }
    let got = produce(&x, 1024, 2.0);
    rejects("soft_cap", "last workgroup missing", &got, compare("soft_cap", &got, &want));
}
