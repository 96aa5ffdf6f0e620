//! `gate_mul`: the gate in place, of every size and far from zero on both sides.

use killick::kernels::gate_mul;
use killick::model_file::Activation;
use killick::reference;

use crate::support::gpu::{Produced, buffer, gpu, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

const BOTH: [Activation; 2] = [Activation::Silu, Activation::Gelu];

fn produce(gate: &[f32], up: &[f32], count: usize, activation: Activation) -> Produced {
    let (gate, up) = (buffer("gate", gate), buffer("up", up));
    run(&gate, |rec| gate_mul::record(rec, &gate, &up, count as u32, activation))
}

fn check(gate: &[f32], up: &[f32]) {
    for activation in BOTH {
        let got = produce(gate, up, gate.len(), activation);
        let want = reference::gate_mul(gate, up, activation);
        let case = format!("({}) {activation:?}", gate.len());
        passes("gate_mul", &case, &got, compare("gate_mul", &got, &want));
    }
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
        skipped(&format!("gate_mul ({count})"), "it does not fit a binding of this device");
        return;
    }
    check(&numbers(7, 1, count), &numbers(8, 1, count));
}

#[test]
fn gates_beyond_the_range_of_exp_are_finite() {
    let gate = [
        -3e38, -1e4, -500.0, -89.0, -88.0, -80.0, -79.0, -20.0, -9.0, -3.0, 9.0, 3.0, -1e-8, 0.0, 1e-8, 20.0,
        89.0, 1e4, 1e30, 1.0,
    ];
    let up: Vec<f32> = gate.iter().map(|gate| if *gate > 1e5 { 1e-30 } else { 2.0 }).collect();
    check(&gate, &up);
}

#[test]
fn the_check_rejects_faults() {
    let (gate, up) = (numbers(1, 1, 1028), numbers(2, 1, 1028));
    for (activation, other) in [(Activation::Silu, Activation::Gelu), (Activation::Gelu, Activation::Silu)] {
        let want = reference::gate_mul(&gate, &up, activation);
        let got = produce(&gate, &up, 1028, activation);
        for (fault, wrong) in [
            ("operands swapped", reference::gate_mul(&up, &gate, activation)),
            ("the other activation", reference::gate_mul(&gate, &up, other)),
            ("off-by-one element", off_by_one_row(&want, 1)),
            ("two lanes swapped", swap_two(&want)),
        ] {
            rejects("gate_mul", fault, &got, compare("gate_mul", &got, &wrong));
        }
        let got = produce(&gate, &up, 1024, activation);
        rejects("gate_mul", "last workgroup missing", &got, compare("gate_mul", &got, &want));
    }
}
