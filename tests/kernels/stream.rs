//! `stream`: sums of what each lane reads of its stretch, with and without a rest.

use killick::kernels::stream::{self, Walk};
use killick::reference;

use crate::support::gpu::{Produced, each_implementation, entries, output, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};

fn produce(x: &[f32], count: usize, walk: Walk) -> Produced {
    let x = entries("x", x, 4);
    let out = output("out", 4 * walk.lanes as usize);
    run(&out, |rec| stream::record(rec, &x, &out, count as u32, walk))
}

fn want(x: &[f32], walk: Walk) -> Vec<f64> {
    let stretch = walk.stretch((x.len() / 4) as u32);
    reference::stream(x, walk.lanes as usize, walk.width as usize, stretch as usize)
}

#[test]
fn matches_the_reference() {
    each_implementation("stream", |_| {
        for (count, lanes, width) in [
            (4, 1, 1),
            (4, 3, 3),
            (28, 4, 1),
            (252, 14, 7),
            (4096, 8, 8),
            (4100, 16, 8),
            (4 * 1023, 255, 255),
            (4 * 65_541, 256, 8),
            (4 * 65_541, 512, 512),
            (4 * 70_000, 4100, 1025),
        ] {
            // The buffer may go on behind what is read.
            let x = numbers(count as u64, 1, count + 8);
            let walk = Walk { lanes, width };
            let got = produce(&x, count, walk);
            let case = format!("({count}) by {lanes}, {width} wide");
            passes("stream", &case, &got, compare("stream", &got, &want(&x[..count], walk)));
        }
    });
}

#[test]
fn no_lane_is_nothing_to_do() {
    each_implementation("stream", |_| {
        let got = produce(&numbers(1, 1, 64), 64, Walk { lanes: 0, width: 1 });
        passes("stream", "no lane", &got, compare("stream", &got, &[]));
    });
}

#[test]
fn the_check_rejects_faults() {
    each_implementation("stream", |_| {
        let x = numbers(1, 1, 4100);
        let walk = Walk { lanes: 16, width: 8 };
        let right = want(&x, walk);
        let got = produce(&x, 4100, walk);
        let mut dropped = x.clone();
        dropped[4096..].fill(0.0);
        for (fault, wrong) in [
            ("last vector dropped", want(&dropped, walk)),
            ("another width", want(&x, Walk { width: 16, ..walk })),
            ("off-by-one vector", off_by_one_row(&right, 4)),
            ("two lanes swapped", swap_two(&right)),
        ] {
            rejects("stream", fault, &got, compare("stream", &got, &wrong));
        }
    });
}
