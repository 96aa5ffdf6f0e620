//! `adjust`: bias and bans on vocabularies of every size.

use killick::kernels::adjust;
use killick::reference;
use killick::sampling::{BANNED, SamplerOptions};

use crate::support::gpu::{Produced, buffer, output, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare_bits, passes, rejects};

fn produce(logits: &[f32], bias: &[f32], n: usize) -> Produced {
    let (logits, bias, scores) =
        (buffer("logits", logits), buffer("bias", bias), output("scores", bias.len()));
    run(&scores, |rec| adjust::record(rec, &logits, &bias, &scores, 1, n as u32))
}

/// A bias on every third id, and the first, the last and some others banned.
fn bias(n: usize) -> Vec<f32> {
    let last = n.saturating_sub(1) as u32;
    let mut options = SamplerOptions { banned: vec![0, last / 2, last], ..SamplerOptions::default() };
    options.logit_bias = numbers(3, 1, n).iter().zip(0..).step_by(3).map(|(bias, id)| (id, *bias)).collect();
    options.bias_vector(n as u32)
}

#[test]
fn matches_the_reference() {
    for n in [0, 1, 63, 64, 65, 321, 32_002, 49_152, 128_256] {
        let (logits, bias) = (numbers(n as u64, 1, n), bias(n));
        let got = produce(&logits, &bias, n);
        let want = reference::adjust(&logits, &bias);
        passes("adjust", &format!("({n})"), &got, compare_bits("adjust", &got, &want));
    }
}

#[test]
fn the_check_rejects_faults() {
    let (logits, bias) = (numbers(1, 1, 321), bias(321));
    let want = reference::adjust(&logits, &bias);
    let got = produce(&logits, &bias, 321);
    let without: Vec<f32> = bias.iter().map(|bias| if *bias == BANNED { 0.0 } else { *bias }).collect();
    let added: Vec<f32> = logits.iter().zip(&bias).map(|(logit, bias)| 1e35 * logit + bias).collect();
    for (fault, wrong) in [
        ("no bias", logits.clone()),
        ("bans forgotten", reference::adjust(&logits, &without)),
        ("a banned score that still depends on the logit", added),
        ("off-by-one element", off_by_one_row(&want, 1)),
        ("two lanes swapped", swap_two(&want)),
    ] {
        rejects("adjust", fault, &got, compare_bits("adjust", &got, &wrong));
    }
    let got = produce(&logits, &bias, 320);
    rejects("adjust", "last workgroup missing", &got, compare_bits("adjust", &got, &want));
}
