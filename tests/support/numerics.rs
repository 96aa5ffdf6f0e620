//! The check that every kernel goes through, with the tolerances of `docs/numerics.md` and no others.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

use std::fmt::Write;

pub use super::bounds::bound;
use super::bounds::tolerance;
use super::gpu::{Backend, POISON, Produced};
use killick::kernels::KvFormat;
use killick::reference;

/// Compares a device's buffer with what the twin says. A NaN in `want` is an element that the kernel must not
/// touch. Returns the NMSE.
pub fn compare(stem: &str, got: &Produced, want: &[f64]) -> Result<f64, String> {
    of_the_device(got)?;
    let allowed = tolerance(stem);
    assert!(allowed.nmse > 0.0, "{stem} is compared word by word");
    let (mut errors, mut squares, mut numbers) = (0.0_f64, 0.0_f64, 0_usize);
    let (mut worst, mut worst_at) = (0.0_f64, 0);
    for (i, want) in want.iter().enumerate() {
        let bits = got.words[i];
        let value = f64::from(f32::from_bits(bits));
        if want.is_nan() {
            if bits != POISON {
                return Err(format!("element {i} was to be left alone and is {value:e}"));
            }
            continue;
        }
        if value.is_finite() != want.is_finite() || (!want.is_finite() && value != *want) {
            let note = if bits == POISON { ": it was never written" } else { "" };
            return Err(format!("element {i} is {value:e} and should be {want:e}{note}"));
        }
        if !want.is_finite() {
            continue;
        }
        let error = value - want;
        errors += error * error;
        squares += want * want;
        numbers += 1;
        if error.abs() > worst {
            (worst, worst_at) = (error.abs(), i);
        }
    }
    behind(got, want.len())?;
    let nmse = if errors == 0.0 { 0.0 } else { errors / squares };
    let rms = (squares / numbers.max(1) as f64).sqrt();
    let mut wrong = String::new();
    if nmse > allowed.nmse {
        write!(wrong, "nmse {nmse:.1e} > {:e}; ", allowed.nmse).unwrap();
    }
    if worst > allowed.element * rms {
        write!(wrong, "an element is off by {:.1e} rms > {:e}; ", worst / rms, allowed.element).unwrap();
    }
    if wrong.is_empty() {
        return Ok(nmse);
    }
    let (is, should) = (f32::from_bits(got.words[worst_at]), want[worst_at]);
    Err(format!("{wrong}worst is element {worst_at} of {}: {is:e} instead of {should:e}", want.len()))
}

/// [`compare`] of keys or values of heads of this width, which are kept in `format`: each must be the number of the format that the twin's is
/// nearest to, where no other is as near within the tolerance of an element.
pub fn compare_entries(
    stem: &str,
    (format, head_dim): (KvFormat, u32),
    got: &Produced,
    want: &[f64],
) -> Result<f64, String> {
    let squares: Vec<f64> = want.iter().filter(|want| want.is_finite()).map(|want| want * want).collect();
    let rms = (squares.iter().sum::<f64>() / squares.len().max(1) as f64).sqrt();
    let slack = tolerance(stem).element * rms;
    let heads = want.chunks(head_dim as usize).zip(got.words.chunks(head_dim as usize));
    let kept = |(want, got): (&[f64], &[u32])| match want.iter().any(|want| want.is_nan()) {
        true => want.to_vec(),
        false => {
            let got: Vec<f32> = got.iter().map(|got| f32::from_bits(*got)).collect();
            reference::kept(format, want, &got, slack)
        }
    };
    compare(stem, got, &heads.flat_map(kept).collect::<Vec<_>>())
}

/// Compares word by word.
pub fn compare_words(stem: &str, got: &Produced, want: &[u32]) -> Result<f64, String> {
    of_the_device(got)?;
    assert_eq!(tolerance(stem).nmse, 0.0, "{stem} is compared by its tolerance");
    if let Some(i) = (0..want.len()).find(|&i| got.words[i] != want[i]) {
        return Err(format!("word {i} is {:#010x} and should be {:#010x}", got.words[i], want[i]));
    }
    behind(got, want.len())?;
    Ok(0.0)
}

/// Compares floats that a kernel copies, bit by bit.
pub fn compare_bits(stem: &str, got: &Produced, want: &[f32]) -> Result<f64, String> {
    compare_words(stem, got, bytemuck::cast_slice(want))
}

/// Whether column `column` of every (dim) row is 1, as it must be when all its values are.
pub fn compare_row_sums(got: &Produced, rows: usize, dim: usize, column: usize) -> Result<f64, String> {
    let most = bound("softmax row sum");
    let mut worst = 0.0_f64;
    for r in 0..rows {
        let sum = f64::from(f32::from_bits(got.words[r * dim + column]));
        let off = (sum - 1.0).abs();
        if off > most || off.is_nan() {
            return Err(format!("the weights of row {r} sum to {sum}, off by more than {most:e}"));
        }
        worst = worst.max((sum - 1.0).abs());
    }
    Ok(worst)
}

fn of_the_device(got: &Produced) -> Result<(), String> {
    match got.by() {
        Backend::Gpu(_) => Ok(()),
        Backend::Reference => Err("the reference is compared with itself".to_owned()),
    }
}

/// The sentinel behind the `used` words.
fn behind(got: &Produced, used: usize) -> Result<(), String> {
    assert!(got.words.len() >= used + 256, "there is no sentinel behind the output");
    match got.words[used..].iter().position(|word| *word != POISON) {
        None => Ok(()),
        Some(i) => Err(format!("word {i} behind the output was overwritten")),
    }
}

fn backend(got: &Produced) -> &str {
    match got.by() {
        Backend::Gpu(name) => name,
        Backend::Reference => "reference",
    }
}

/// The comparison must succeed.
pub fn passes(stem: &str, case: &str, got: &Produced, result: Result<f64, String>) {
    let by = backend(got);
    match result {
        Ok(nmse) => println!("[passed] [{by}] {stem} {case} nmse {nmse:.1e} <= {:e}", tolerance(stem).nmse),
        Err(why) => panic!("[failed] [{by}] {stem} {case}: {why}"),
    }
}

/// The comparison must fail: `fault` says what is wrong in it.
pub fn rejects(stem: &str, fault: &str, got: &Produced, result: Result<f64, String>) {
    let by = backend(got);
    match result {
        Err(why) => println!("[rejected] [{by}] {stem} {fault}: {why}"),
        Ok(nmse) => panic!("[failed] [{by}] {stem} {fault} passes with nmse {nmse:.1e}"),
    }
}
