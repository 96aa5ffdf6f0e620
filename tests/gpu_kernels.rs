//! Every kernel on a real device against its CPU twin, each with faults that the same check must reject.
//!
//! One file per kernel, by the kernel's stem. How close is right: `docs/numerics.md`. Which device, and with which
//! features: `tests/support/gpu.rs`. `-- --nocapture` prints every case with what was measured.

#![allow(clippy::print_stdout, reason = "the figures measured are part of a test's report")]

mod support {
    pub mod bounds;
    pub mod gpu;
    pub mod inputs;
    pub mod numerics;
    pub mod random;
    pub mod skip;
    pub mod text;
}

/// What goes over several texts of a pool.
mod texts {
    mod kv_step;
    mod sampler;
}

mod kernels {
    mod add_bias;
    mod adjust;
    mod argmax;
    mod attention;
    mod attention_join;
    mod embed;
    mod emit;
    mod gate_mul;
    mod gated_mlp;
    mod kv_step;
    mod kv_write;
    mod masked_attention;
    mod matmul;
    mod matvec;
    mod multiply_add;
    mod nll;
    mod penalize;
    mod qk_norm;
    mod rms_norm;
    mod rope;
    mod sample;
    mod soft_cap;
    mod stream;
    mod top_logprobs;
}

use killick::gpu::Recorder;
use killick::kernels::{add_bias, gate_mul};
use killick::model_file::Activation;
use killick::reference;
use support::gpu::{Produced, buffer, gpu, run};
use support::inputs::numbers;
use support::numerics::{compare, compare_words, passes, rejects};

const SILU: Activation = Activation::Silu;

#[test]
fn a_result_of_the_reference_is_not_taken_for_the_device() {
    let (gate, up) = (numbers(1, 1, 260), numbers(2, 1, 260));
    let want = reference::gate_mul(&gate, &up, SILU);
    let (on_device, up) = (buffer("gate", &gate), buffer("up", &up));
    let got = run(&on_device, |rec| gate_mul::record(rec, &on_device, &up, 260, SILU));
    passes("gate_mul", "(260), computed by the device", &got, compare("gate_mul", &got, &want));
    let twin = Produced::by_reference(want.iter().map(|v| (*v as f32).to_bits()).collect());
    rejects("gate_mul", "computed by the twin", &twin, compare("gate_mul", &twin, &want));
    let words = Produced::by_reference(vec![7]);
    rejects("argmax", "computed by the twin", &words, compare_words("argmax", &words, &[7]));
}

#[test]
fn what_lies_behind_an_output_is_watched() {
    let (gate, up) = (numbers(3, 1, 264), numbers(4, 1, 264));
    let want = reference::gate_mul(&gate[..260], &up[..260], SILU);
    let (on_device, up) = (buffer("gate", &gate), buffer("up", &up));
    let got = run(&on_device, |rec| gate_mul::record(rec, &on_device, &up, 264, SILU));
    rejects("gate_mul", "four elements too many", &got, compare("gate_mul", &got, &want));
}

/// Parameters lie in slots that later submits reuse; a recording that was begun before them must keep its own.
#[test]
fn recordings_side_by_side_keep_their_parameters() {
    let up = buffer("up", &vec![1.0_f32; 4096]);
    let first = buffer("gate", &vec![2.0_f32; 4096]);
    let other = buffer("other gate", &vec![1.0_f32; 4096]);
    let mut open = Recorder::new(gpu().capabilities());
    gate_mul::record(&mut open, &first, &up, 4096, SILU).unwrap();
    for round in 0..4_u32 {
        let mut rec = Recorder::new(gpu().capabilities());
        (1..=200)
            .try_for_each(|n| gate_mul::record(&mut rec, &other, &up, 4 * (round * 200 + n), SILU))
            .unwrap();
        gpu().run(rec.finish()).unwrap();
    }
    gpu().run(open.finish()).unwrap();
    let got = run(&first, |_| Ok(()));
    let want = reference::gate_mul(&[2.0; 4096], &[1.0; 4096], SILU);
    passes("gate_mul", "(4096) recorded before 800 others", &got, compare("gate_mul", &got, &want));
}

/// More different parameters than one submit holds are several submits, in order, as often as wanted.
#[test]
fn a_recording_with_many_parameters_is_several_submits() {
    let (x, one) = (buffer("x", &[0.0_f32; 4 * 1100]), buffer("one", &[1.0_f32; 4]));
    let mut rec = Recorder::new(gpu().capabilities());
    // Row r is met by all dispatches of more than r rows.
    (1..=1100).try_for_each(|rows| add_bias::record(&mut rec, &one, &x, rows, 4)).unwrap();
    gpu().submit(&gpu().prepare(rec.finish()).unwrap(), 2, &[]).unwrap();
    let want: Vec<f32> = (0..4 * 1100).map(|i| (2 * (1100 - i / 4)) as f32).collect();
    assert_eq!(run(&x, |_| Ok(())).floats(want.len()), want);
}
