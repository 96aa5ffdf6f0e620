//! Which device the tests of a step run on, and how fast it is.
//!
//! `scripts/test.sh` runs this before a step's own tests and shows what it prints, as cargo hides what a passed test says: the
//! adapter with its driver's version, and the speed that the shares of all tests of the step follow (`share` in
//! `tests/support/gpu.rs`).

#![allow(clippy::print_stdout, reason = "what the device is goes into the log of a step")]

mod support {
    pub mod gpu;
    pub mod skip;
}

use support::gpu::{FULL_MILLISECONDS, gpu, part, speed};

#[test]
fn the_device_says_what_it_is_and_how_fast() {
    gpu();
    let speed = speed();
    assert!(speed.is_finite() && speed > 0.0, "{speed}");
    println!(
        "speed {speed:.3}: that much of what is slow, where the step repeats it ({:.2} ms a matrix times vector)",
        FULL_MILLISECONDS / speed
    );
}

#[test]
fn a_share_is_never_less_than_the_proof_needs_nor_more_than_there_is() {
    let shares = [0.001, 0.25, 0.5, 1.0, 8.0].map(|speed| part(90, 18, speed));
    assert_eq!(shares, [18, 23, 45, 90, 90]);
    // A list shorter than what the proof would take is taken whole.
    assert_eq!(part(2, 3, 0.5), 2);
}
