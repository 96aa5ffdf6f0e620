//! `silu_mul`: the gate in place, of every size and far from zero on both sides.

use killick::kernels::silu_mul;
use killick::reference;

use crate::support::gpu::{Produced, buffer, gpu, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

fn produce(gate: &[f32], up: &[f32], count: usize) -> Produced {
    let (gate, up) = (buffer("gate", gate), buffer("up", up));
    run(&gate, |rec| silu_mul::record(rec, &gate, &up, count as u32))
}

fn check(gate: &[f32], up: &[f32]) {
    let got = produce(gate, up, gate.len());
    let want = reference::silu_mul(gate, up);
    passes("silu_mul", &format!("({})", gate.len()), &got, compare("silu_mul", &got, &want));
}

#[test]
fn matches_the_reference() {
    for count in [0, 4, 252, 256, 260, 1028, 4096, 49_152] {
        check(&numbers(count as u64, 1, count), &numbers(count as u64 + 1, 1, count));
    }
}

#[test]
fn more_workgroups_than_one_dimension_has() {
    let count = 65_535 * 256 + 12;
    if gpu().max_binding_bytes() < count as u64 * 4 + 4096 {
        skipped(&format!("silu_mul ({count})"), "it does not fit a binding of this device");
        return;
    }
    check(&numbers(7, 1, count), &numbers(8, 1, count));
}

#[test]
fn gates_beyond_the_range_of_exp_are_finite() {
    let gate = [
        -3e38, -1e4, -500.0, -89.0, -88.0, -80.0, -79.0, -20.0, -1e-8, 0.0, 1e-8, 20.0, 89.0, 1e4, 1e30, 1.0,
    ];
    let up: Vec<f32> = gate.iter().map(|gate| if *gate > 1e5 { 1e-30 } else { 2.0 }).collect();
    check(&gate, &up);
}

#[test]
fn the_check_rejects_faults() {
    let (gate, up) = (numbers(1, 1, 1028), numbers(2, 1, 1028));
    let want = reference::silu_mul(&gate, &up);
    let got = produce(&gate, &up, 1028);
    for (fault, wrong) in [
        ("operands swapped", reference::silu_mul(&up, &gate)),
        ("off-by-one element", off_by_one_row(&want, 1)),
        ("two lanes swapped", swap_two(&want)),
    ] {
        rejects("silu_mul", fault, &got, compare("silu_mul", &got, &wrong));
    }
    let got = produce(&gate, &up, 1024);
    rejects("silu_mul", "last workgroup missing", &got, compare("silu_mul", &got, &want));
}
