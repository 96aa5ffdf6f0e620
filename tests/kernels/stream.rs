//! `stream`: sums of what lies so many vectors apart, with and without a rest.

use killick::kernels::stream;
use killick::reference;

use crate::support::gpu::{Produced, each_implementation, entries, output, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};

fn produce(x: &[f32], count: usize, lanes: usize) -> Produced {
    let x = entries("x", x);
    let out = output("out", 4 * lanes);
    run(&out, |rec| stream::record(rec, &x, &out, count as u32, lanes as u32))
}

#[test]
fn matches_the_reference() {
    each_implementation("stream", |_| {
        for (count, lanes) in [
            (4, 1),
            (4, 3),
            (28, 1),
            (252, 7),
            (4096, 8),
            (4100, 9),
            (4 * 1023, 255),
            (4 * 65_541, 256),
            (4 * 70_000, 4099),
        ] {
            // The buffer may go on behind what is read.
            let x = numbers(count as u64, 1, count + 8);
            let got = produce(&x, count, lanes);
            let want = reference::stream(&x[..count], lanes);
            passes("stream", &format!("({count}) in {lanes}"), &got, compare("stream", &got, &want));
        }
    });
}

#[test]
fn no_lane_is_nothing_to_do() {
    each_implementation("stream", |_| {
        let got = produce(&numbers(1, 1, 64), 64, 0);
        passes("stream", "no lane", &got, compare("stream", &got, &[]));
    });
}

#[test]
fn the_check_rejects_faults() {
    each_implementation("stream", |_| {
        let x = numbers(1, 1, 4100);
        let want = reference::stream(&x, 9);
        let got = produce(&x, 4100, 9);
        for (fault, wrong) in [
            ("last vector dropped", reference::stream(&x[..4096], 9)),
            ("another number of lanes", [reference::stream(&x, 8), vec![0.0; 4]].concat()),
            ("off-by-one vector", off_by_one_row(&want, 4)),
            ("two lanes swapped", swap_two(&want)),
        ] {
            rejects("stream", fault, &got, compare("stream", &got, &wrong));
        }
        let got = produce(&x, 4096, 9);
        rejects("stream", "last vector not read", &got, compare("stream", &got, &want));
    });
}
