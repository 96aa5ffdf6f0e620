//! `adjust`: bias and bans on vocabularies of every size, and rows of which some have none.

use killick::kernels::adjust::{self, Adjust};
use killick::kernels::sample::RowSettings;
use killick::reference;
use killick::sampling::{BANNED, SamplerOptions};

use crate::support::gpu::{POISON, Produced, buffer, output, run};
use crate::support::inputs::{numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare_bits, passes, rejects};

/// `biased` says of each row of `n` columns whether it has a bias.
fn produce_rows(logits: &[f32], bias: &[f32], biased: &[bool], n: usize) -> Produced {
    let settings = |biased: &bool| RowSettings { biased: u32::from(*biased), ..RowSettings::default() };
    let settings = buffer("settings", &biased.iter().map(settings).collect::<Vec<_>>());
    let (logits, bias, scores) =
        (buffer("logits", logits), buffer("bias", bias), output("scores", bias.len()));
    let io = Adjust { logits: &logits, bias: &bias, settings: &settings, scores: &scores };
    run(&scores, |rec| adjust::record(rec, io, biased.len() as u32, n as u32))
}

fn produce(logits: &[f32], bias: &[f32], n: usize) -> Produced {
    produce_rows(logits, bias, &[true], n)
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
fn a_row_without_a_bias_keeps_its_logits_whatever_lies_in_its_place() {
    let n = 321;
    let (logits, first, last) = (numbers(7, 3, n), bias(n), numbers(8, 1, n));
    let stale = vec![f32::from_bits(POISON); n];
    let got = produce_rows(&logits, &[&first[..], &stale, &last].concat(), &[true, false, true], n);
    let row = |r: usize| &logits[r * n..(r + 1) * n];
    let adjusted = [reference::adjust(row(0), &first), reference::adjust(row(2), &last)];
    let want = [&adjusted[0], row(1), &adjusted[1]].concat();
    passes("adjust", "(3x321), one without", &got, compare_bits("adjust", &got, &want));
    let swapped = [&reference::adjust(row(0), &last), row(1), &reference::adjust(row(2), &first)].concat();
    rejects("adjust", "the biases of two rows swapped", &got, compare_bits("adjust", &got, &swapped));
    let unbiased = produce_rows(&logits, &[&first[..], &first, &last].concat(), &[true, true, true], n);
    rejects("adjust", "a bias where there is none", &unbiased, compare_bits("adjust", &unbiased, &want));
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
