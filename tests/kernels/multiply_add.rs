//! `multiply_add`: every number of lanes and of rounds, and that each round counts.

use killick::kernels::multiply_add;
use killick::reference;

use crate::support::gpu::{Produced, buffer, output, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};

/// What is measured with: a sign that changes keeps the lanes apart.
const BY: [f32; 2] = [-0.999, 1.25];

fn produce(x: &[f32], rounds: usize, by: [f32; 2]) -> Produced {
    let (of, out) = (buffer("x", x), output("out", x.len()));
    let lanes = (x.len() / 4) as u32;
    run(&out, |rec| multiply_add::record(rec, &of, &out, (lanes, rounds as u32), by))
}

#[test]
fn matches_the_reference() {
    for lanes in [0, 1, 7, 8, 9, 255, 256, 257, 4099] {
        for rounds in [0, 4, 64, 512] {
            let x = numbers(lanes as u64, 1, 4 * lanes);
            let got = produce(&x, rounds, BY);
            let want = reference::multiply_add(&x, rounds, BY);
            let case = format!("({lanes}) {rounds} rounds");
            passes("multiply_add", &case, &got, compare("multiply_add", &got, &want));
        }
    }
}

#[test]
fn the_check_rejects_faults() {
    let x = numbers(1, 1, 4 * 257);
    let want = reference::multiply_add(&x, 64, BY);
    let got = produce(&x, 64, BY);
    for (fault, wrong) in [
        ("a round left out", reference::multiply_add(&x, 63, BY)),
        ("another scale", reference::multiply_add(&x, 64, [-0.998, BY[1]])),
        ("nothing added", reference::multiply_add(&x, 64, [BY[0], 0.0])),
        ("off-by-one vector", off_by_one_row(&want, 4)),
        ("two lanes swapped", swap_two(&want)),
    ] {
        rejects("multiply_add", fault, &got, compare("multiply_add", &got, &wrong));
    }
    let got = produce(&x[..4 * 256], 64, BY);
    let short = Produced::by_reference(got.words.clone());
    rejects("multiply_add", "computed by nobody", &short, compare("multiply_add", &short, &want[..4 * 256]));
}
