//! Whether what the device made is what the CPU twin says, by the tolerances of `docs/numerics.md` and no others.

use crate::kernels::KvFormat;

/// The page that decides how close is right.
const PAGE: &str = include_str!("../../docs/numerics.md");

/// The NaN that outputs are filled with before a kernel runs, so that what it did not write is seen.
pub(super) const POISON: u32 = 0x7fc0_dead;

/// What the twin says of an output.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// These numbers at these places; the others were not asked for.
    Numbers(Vec<(usize, f64)>),
    /// These words, bit by bit, from the beginning on.
    Words(Vec<u32>),
}

impl Expected {
    /// All numbers of an output.
    pub(super) fn all(numbers: Vec<f64>) -> Self {
        Self::Numbers(numbers.into_iter().enumerate().collect())
    }

    /// What keys or values of heads of this width are kept as, of which `got` came.
    pub(super) fn kept(self, op: &str, format: KvFormat, head_dim: u32, got: &[u32]) -> Self {
        let (Self::Numbers(mut numbers), Some(allowed)) = (self.clone(), tolerance(op)) else { return self };
        let squares: f64 = numbers.iter().map(|(_, want)| want * want).sum();
        let slack = allowed.element * (squares / numbers.len().max(1) as f64).sqrt();
        let value = |at: usize| f32::from_bits(got.get(at).copied().unwrap_or(POISON));
        for head in numbers.chunks_mut(head_dim.max(1) as usize) {
            let (want, got): (Vec<_>, Vec<_>) = head.iter().map(|(at, want)| (*want, value(*at))).unzip();
            let kept = crate::reference::kept(format, &want, &got, slack);
            for ((_, want), kept) in head.iter_mut().zip(kept) {
                *want = kept;
            }
        }
        Self::Numbers(numbers)
    }

    /// Elements that are compared.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Words(words) => words.len(),
        }
    }

    /// Whether nothing is compared.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a class of kernels is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tolerance {
    nmse: f64,
    /// Largest error of one element, in units of the root mean square.
    element: f64,
}

/// The tolerance of an op; `None` where the page has no row for it.
fn tolerance(op: &str) -> Option<Tolerance> {
    PAGE.lines().find_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        match cells[..] {
            [_, nmse, element, kernels] if kernels.split(", ").any(|kernel| kernel == op) => {
                Some(Tolerance { nmse: nmse.parse().ok()?, element: element.parse().ok()? })
            }
            _ => None,
        }
    })
}

/// Compares the words of an output.
///
/// # Errors
/// How they differ.
pub fn agree(op: &str, got: &[u32], expected: &Expected) -> Result<(), String> {
    let missing = || "the output is too short".to_owned();
    match expected {
        Expected::Words(words) => {
            let got = got.get(..words.len()).ok_or_else(missing)?;
            let wrong = got.iter().zip(words).position(|(got, want)| got != want);
            wrong.map_or(Ok(()), |at| {
                Err(format!("word {at} is {:#010x} and should be {:#010x}", got[at], words[at]))
            })
        }
        Expected::Numbers(numbers) => {
            let allowed = tolerance(op).ok_or_else(|| format!("docs/numerics.md has no row for {op}"))?;
            let (mut errors, mut squares, mut worst) = (0.0_f64, 0.0_f64, (0.0_f64, 0, 0.0, 0.0));
            for (at, want) in numbers {
                let bits = *got.get(*at).ok_or_else(missing)?;
                let value = f64::from(f32::from_bits(bits));
                if bits == POISON {
                    return Err(format!("element {at} was never written"));
                }
                if !value.is_finite() {
                    return Err(format!("element {at} is {value} and should be {want:e}"));
                }
                let error = (value - want).abs();
                errors += error * error;
                squares += want * want;
                if error > worst.0 {
                    worst = (error, *at, value, *want);
                }
            }
            let rms = (squares / numbers.len().max(1) as f64).sqrt();
            let (error, at, is, should) = worst;
            if errors > allowed.nmse * squares || error > allowed.element * rms {
                return Err(format!("element {at} is {is:e} and should be {should:e}"));
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn a_wrong_element_is_refused_however_many_are_right() {
        let mut got = vec![1.0_f32; 100_000];
        let expected = Expected::all(vec![1.0; 100_000]);
        assert_eq!(agree("matvec", &bits(&got), &expected), Ok(()));
        got[77_777] = 1.001;
        let error = agree("matvec", &bits(&got), &expected).unwrap_err();
        assert!(error.contains("element 77777"), "{error}");
    }

    #[test]
    fn what_was_not_written_is_no_number_and_or_is_not_there_is_refused() {
        let expected = Expected::all(vec![0.5, 0.25]);
        for (got, word) in [
            (vec![0.5_f32.to_bits(), POISON], "never written"),
            (vec![0.5_f32.to_bits(), f32::INFINITY.to_bits()], "inf"),
            (vec![0.5_f32.to_bits()], "too short"),
        ] {
            let error = agree("rms_norm", &got, &expected).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(agree("no_such_op", &bits(&[0.5, 0.25]), &expected).is_err());
    }

    #[test]
    fn words_are_compared_bit_by_bit() {
        let expected = Expected::Words(vec![1, 2]);
        assert_eq!(agree("argmax", &[1, 2, 9], &expected), Ok(()));
        assert!(agree("argmax", &[1, 3], &expected).unwrap_err().contains("word 1"));
    }
}
