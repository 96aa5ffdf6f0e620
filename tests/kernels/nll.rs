//! `nll`: real vocabularies, logits far from zero, an output that starts somewhere in the middle.

use killick::kernels::nll::{self, Nll};
use killick::reference::{self, Matrix};

use crate::support::gpu::{Produced, buffer, output, run};
use crate::support::inputs::{after, drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::random::Random;

const OFFSET: usize = 2;

struct Case {
    logits: Vec<f32>,
    targets: Vec<u32>,
    rows: usize,
    cols: usize,
}

impl Case {
    /// Logits of std about `scale`, moved by `shift`; targets anywhere, the first and last column among them.
    fn new(rows: usize, cols: usize, scale: f32, shift: f32) -> Self {
        let mut random = Random(rows as u64 * 7 + cols as u64);
        let logits = numbers(random.bits(), rows, cols).iter().map(|v| v * scale + shift).collect();
        let target = |r| match r {
            0 => 0,
            1 => cols as u32 - 1,
            _ => random.below(cols as u64) as u32,
        };
        Self { logits, targets: (0..rows).map(target).collect(), rows, cols }
    }

    fn produce(&self, rows: usize) -> Produced {
        let targets = [vec![u32::MAX; OFFSET], self.targets.clone()].concat();
        let (logits, targets) = (buffer("logits", &self.logits), buffer("targets", &targets));
        let out = output("out", OFFSET + self.rows);
        let (rows, cols) = (rows as u32, self.cols as u32);
        let io = Nll { logits: &logits, targets: &targets, out: &out };
        run(&out, |rec| nll::record(rec, io, rows, cols, OFFSET as u32))
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix::new(&self.logits, self.rows, self.cols)
    }

    fn want(&self) -> Vec<f64> {
        after(OFFSET, reference::nll(self.matrix(), &self.targets))
    }

    fn check(&self, case: &str) {
        let got = self.produce(self.rows);
        let case = format!("{case} ({}x{})", self.rows, self.cols);
        passes("nll", &case, &got, compare("nll", &got, &self.want()));
    }
}

#[test]
fn matches_the_reference() {
    for (rows, cols) in [
        (1, 1),
        (0, 4),
        (3, 63),
        (3, 64),
        (3, 65),
        (7, 257),
        (257, 321),
        (4, 4096),
        (3, 32_002),
        (2, 128_256),
    ] {
        Case::new(rows, cols, 1.0, 0.0).check("random");
        Case::new(rows, cols, 5.0, -40.0).check("wide");
    }
}

#[test]
fn more_rows_than_one_dimension_has_workgroups() {
    Case::new(65_539, 3, 1.0, 0.0).check("many rows");
}

#[test]
fn the_largest_logit_is_taken_out_first() {
    // Without that, exp overflows or every term is zero.
    Case::new(5, 257, 10.0, 5_000.0).check("far above zero");
    Case::new(5, 257, 10.0, -5_000.0).check("far below zero");
}

#[test]
fn a_target_outside_the_columns_is_harmless() {
    let mut case = Case::new(3, 65, 1.0, 0.0);
    case.targets[1] = u32::MAX;
    case.check("target out of range");
}

#[test]
fn the_check_rejects_faults() {
    for cols in [257, 32_002] {
        let mut case = Case::new(6, cols, 1.0, 0.0);
        // The last term must weigh something: among 32,002 a small one is no one's loss.
        (0..6).for_each(|r| case.logits[r * cols + cols - 1] = 20.0);
        let want = case.want();
        let got = case.produce(6);
        let dropped = drop_last_column(&case.logits, cols);
        let moved: Vec<u32> = case.targets.iter().map(|t| t ^ 1).collect();
        for (fault, wrong) in [
            (
                "last term dropped",
                after(OFFSET, reference::nll(Matrix::new(&dropped, 6, cols), &case.targets)),
            ),
            ("target off by one", after(OFFSET, reference::nll(case.matrix(), &moved))),
            ("off-by-one row", after(OFFSET, off_by_one_row(&want[OFFSET..], 1))),
            ("two lanes swapped", after(OFFSET, swap_two(&want[OFFSET..]))),
            ("offset ignored", off_by_one_row(&want, OFFSET)),
        ] {
            rejects("nll", &format!("({cols}) {fault}"), &got, compare("nll", &got, &wrong));
        }
        let got = case.produce(5);
        rejects("nll", "last workgroup missing", &got, compare("nll", &got, &want));
    }
}
