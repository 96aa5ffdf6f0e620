//! How much work goes into one submit.
//!
//! A GPU that is busy for long makes the display stutter, and a driver may take it for hung and reset it. So prompt chunks and
//! batches of decode steps grow and shrink with the time they were seen to take.

use std::time::Duration;

/// A submit should run about this long; it must stay under 50 ms.
const TARGET: Duration = Duration::from_millis(30);
/// What a submit of one step may take.
const BEARABLE: Duration = Duration::from_millis(45);

/// The size of the next submit, in tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    size: u32,
    most: u32,
    adapts: bool,
    /// Larger sizes are multiples of it, and what a submit of it can bear is not made smaller.
    step: u32,
}

impl Pace {
    /// Always this many.
    pub(crate) fn fixed(size: u32) -> Self {
        Self { size, most: size, adapts: false, step: 1 }
    }

    /// Begins with `first`, never more than `most`.
    pub(crate) fn adaptive(first: u32, most: u32) -> Self {
        Self { size: first.min(most), most, adapts: true, step: 1 }
    }

    /// In whole steps of so many tokens, as the kernels for many tokens like it.
    pub(crate) fn in_steps_of(self, step: u32) -> Self {
        Self { step, ..self }
    }

    /// Tokens of the next submit, at least one.
    pub(crate) fn size(&self) -> usize {
        self.size.max(1) as usize
    }

    /// A submit of `tokens` took `time`. Growth is cautious, because the next tokens may cost more; shrinking is not.
    pub(crate) fn observe(&mut self, tokens: u32, time: Duration) {
        if !self.adapts || tokens == 0 {
            return;
        }
        let each = (time.as_secs_f64() / f64::from(tokens)).max(1e-9);
        let fits = (TARGET.as_secs_f64() / each) as u32;
        let size = fits.min(self.size.saturating_mul(2)).clamp(1, self.most.max(1));
        self.size = if size >= self.step {
            size / self.step * self.step
        } else if each * f64::from(self.step) <= BEARABLE.as_secs_f64() {
            self.step.min(self.most.max(1))
        } else {
            size
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(mut pace: Pace, per_token: Duration, submits: u32) -> Vec<usize> {
        (0..submits)
            .map(|_| {
                let tokens = pace.size() as u32;
                pace.observe(tokens, per_token * tokens);
                pace.size()
            })
            .collect()
    }

    #[test]
    fn grows_by_doubling_to_what_fits() {
        assert_eq!(after(Pace::adaptive(1, 64), Duration::from_millis(1), 6), [2, 4, 8, 16, 30, 30]);
        assert_eq!(after(Pace::adaptive(1, 16), Duration::from_micros(1), 6), [2, 4, 8, 16, 16, 16]);
    }

    #[test]
    fn shrinks_at_once_and_never_below_one() {
        assert_eq!(after(Pace::adaptive(16, 16), Duration::from_millis(10), 2), [3, 3]);
        assert_eq!(after(Pace::adaptive(16, 16), Duration::from_secs(3), 2), [1, 1]);
    }

    #[test]
    fn steps_are_whole_as_long_as_one_is_bearable() {
        let pace = |most| Pace::adaptive(32, most).in_steps_of(16);
        assert_eq!(after(pace(128), Duration::from_micros(300), 3), [64, 96, 96]);
        assert_eq!(after(pace(128), Duration::from_millis(2), 3), [16, 16, 16]);
        assert_eq!(after(pace(7), Duration::from_millis(2), 2), [7, 7]);
        assert_eq!(after(pace(128), Duration::from_millis(10), 2), [3, 3]);
    }

    #[test]
    fn a_fixed_pace_stays() {
        assert_eq!(after(Pace::fixed(7), Duration::from_secs(3), 3), [7, 7, 7]);
        assert_eq!(Pace::fixed(0).size(), 1);
    }
}
