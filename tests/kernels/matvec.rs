//! `matvec`: every implementation and layout, split weights, with and without the residual.

use killick::kernels::{Inputs, Norm, Product, Update, Weight, WeightLayout, matvec};
use killick::reference::{self, Matrix};

use crate::support::gpu::{
    Produced, buffer, each_layout, each_workgroup, input_rows, is_asked, output, run, thorough,
};
use crate::support::inputs::{TestWeight, drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

/// The middle one of three rows of x is multiplied.
const X_ROWS: usize = 3;
const X_ROW: usize = 1;

struct Case {
    layout: WeightLayout,
    weight: TestWeight,
    x: Vec<f32>,
    residual: Option<Vec<f32>>,
    /// The gain, where x is normalized on the way.
    gain: Option<Vec<f32>>,
}

const EPS: f32 = 1e-5;

impl Case {
    fn new(rows: usize, cols: usize, layout: WeightLayout, parts: usize, residual: bool) -> Self {
        let seed = (rows * 31 + cols) as u64;
        let weight = TestWeight::new(seed, rows, cols, layout, parts);
        Self {
            layout,
            x: numbers(seed + 1, X_ROWS, weight.cols()),
            weight,
            residual: residual.then(|| numbers(seed + 2, 1, rows)),
            gain: None,
        }
    }

    /// With x normalized on the way.
    fn normalized(self) -> Self {
        let cols = self.weight.cols();
        Self { gain: Some(numbers(cols as u64 + 7, 1, cols)), ..self }
    }

    fn name(&self) -> String {
        let Weight { rows, cols, parts } = &self.weight.weight;
        let residual = if self.residual.is_some() { " +residual" } else { "" };
        let norm = if self.gain.is_some() { " normalized" } else { "" };
        format!("{}{norm}{residual} ({rows}x{cols}) in {} parts", self.layout.name(), parts.len())
    }

    fn produce(&self, weight: &Weight) -> Produced {
        let x = input_rows("x", &self.x);
        let (out, update) = match &self.residual {
            Some(residual) => (buffer("out", residual), Update::Add),
            None => (output("out", weight.rows as usize), Update::Replace),
        };
        let gain = self.gain.as_ref().map(|gain| buffer("gain", gain));
        let mut inputs = Inputs::one(&x, X_ROW as u32);
        if let Some(gain) = &gain {
            inputs = inputs.normalized(Norm { gain, eps: EPS });
        }
        let io = Product { weight, inputs, out: &out, update };
        run(&out, |rec| matvec::record(rec, io))
    }

    fn x(&self) -> Matrix<'_> {
        Matrix::new(&self.x, X_ROWS, self.weight.weight.cols as usize)
    }

    fn want(&self) -> Vec<f64> {
        self.want_of(self.x(), X_ROW)
    }

    fn want_of(&self, x: Matrix<'_>, row: usize) -> Vec<f64> {
        let (weight, residual) = (self.weight.matrix(), self.residual.as_deref());
        let Some(gain) = &self.gain else { return reference::matvec(weight, x, row, residual) };
        let normalized = reference::rms_norm(x, gain, EPS);
        let normalized: Vec<f32> = normalized.iter().map(|v| *v as f32).collect();
        reference::matvec(weight, Matrix::new(&normalized, X_ROWS, self.weight.cols()), row, residual)
    }

    fn check(&self) {
        let got = self.produce(&self.weight.weight);
        passes("matvec", &self.name(), &got, compare("matvec", &got, &self.want()));
    }
}

#[test]
fn matches_the_reference() {
    each_layout("matvec", |layout| {
        for (rows, cols) in [
            (1, 4),
            (3, 28),
            (4, 32),
            (5, 36),
            (7, 252),
            (8, 256),
            (9, 260),
            (64, 8),
            (257, 1028),
            (13, 4096),
            (6, 8192),
            (70, 11_008),
        ] {
            Case::new(rows, cols, layout, 1, rows % 2 == 0).check();
            Case::new(rows, cols, layout, 1, rows % 2 == 1).check();
        }
    });
}

#[test]
fn an_input_is_normalized_on_the_way() {
    each_layout("matvec", |layout| {
        for (rows, cols, parts) in [(1, 4, 1), (5, 36, 1), (70, 260, 1), (257, 1028, 3), (6, 8192, 1)] {
            Case::new(rows, cols, layout, parts, false).normalized().check();
            Case::new(rows, cols, layout, parts, true).normalized().check();
        }
        let case = Case::new(70, 576, layout, 2, false).normalized();
        let got = case.produce(&case.weight.weight);
        let ones = Case { gain: Some(vec![1.0; 576]), ..Case::new(70, 576, layout, 2, false) };
        for (fault, wrong) in [
            ("not normalized", reference::matvec(case.weight.matrix(), case.x(), X_ROW, None)),
            ("without the gain", ones.want()),
            ("normalized as another row", case.want_of(case.x(), X_ROW + 1)),
        ] {
            rejects("matvec", &format!("{} {fault}", case.name()), &got, compare("matvec", &got, &wrong));
        }
    });
}

/// Below 6.1e-5 a 16-bit float has no exponent of its own, and a device that takes such numbers for zero must not be asked to read one.
#[test]
fn weights_and_scales_may_be_too_small_for_an_exponent() {
    each_layout("matvec", |layout| {
        let (rows, cols) = (70, 576);
        for scale in [3e-5, 2e-4, 4e-3] {
            let values: Vec<f32> = numbers(5, rows, cols).iter().map(|v| v * scale).collect();
            let weight = TestWeight::of(&values, rows, cols, layout, 1);
            let case = Case { weight, ..Case::new(rows, cols, layout, 1, false) };
            let got = case.produce(&case.weight.weight);
            let name = format!("{} of about {scale}", case.name());
            passes("matvec", &name, &got, compare("matvec", &got, &case.want()));
        }
    });
}

#[test]
fn workgroups_may_be_tuned() {
    each_workgroup("matvec", |layout| {
        for (rows, cols) in [(1, 4), (5, 36), (70, 1028), (257, 576), (6, 8192)] {
            Case::new(rows, cols, layout, 1 + rows % 2, false).normalized().check();
        }
    });
}

#[test]
fn a_split_weight_is_the_same_weight() {
    each_layout("matvec", |layout| {
        for (rows, cols, parts) in
            [(5, 64, 5), (257, 64, 2), (32_002, 64, 3), (1000, 576, 7), (262_144, 32, 1)]
        {
            if !is_asked(layout, rows, cols) {
                continue;
            }
            Case::new(rows, cols, layout, parts, false).check();
            Case::new(rows, cols, layout, parts, true).check();
        }
    });
}

#[test]
fn more_rows_than_one_dimension_has_workgroups() {
    each_layout("matvec", |layout| {
        if is_asked(layout, 4 * 65_535 + 9, 4) {
            Case::new(4 * 65_535 + 9, 4, layout, 1, false).check();
        }
        // A tile of texels is a workgroup; so many are slow.
        if layout != WeightLayout::F16Texels {
            return;
        }
        if thorough() {
            Case::new(64 * 65_535 + 9, 8, layout, 1, false).check();
        } else {
            skipped(
                "matvec of more tiles than one dimension has workgroups",
                "asked where a step is thorough (KILLICK_THOROUGH=1)",
            );
        }
    });
}

#[test]
fn no_row_is_nothing_to_do() {
    each_layout("matvec", |_| {
        let x = buffer("x", &numbers(1, X_ROWS, 32));
        let out = output("out", 0);
        let weight = Weight { parts: Vec::new(), rows: 0, cols: 32 };
        let io = Product { weight: &weight, inputs: Inputs::one(&x, 0), out: &out, update: Update::Replace };
        let got = run(&out, |rec| matvec::record(rec, io));
        passes("matvec", "(0x32)", &got, compare("matvec", &got, &[]));
    });
}

#[test]
fn the_check_rejects_faults() {
    each_layout("matvec", |layout| {
        for cols in [64, 8192] {
            let case = Case::new(70, cols, layout, 3, true);
            let (weight, residual) = (case.weight.matrix(), case.residual.as_deref());
            let got = case.produce(&case.weight.weight);
            let want = case.want();
            let dropped = drop_last_column(weight.values, cols);
            let dropped = reference::matvec(Matrix::new(&dropped, 70, cols), case.x(), X_ROW, residual);
            for (fault, wrong) in [
                ("last term dropped", dropped),
                ("off-by-one row", off_by_one_row(&want, 1)),
                ("two lanes swapped", swap_two(&want)),
                ("another row of x", reference::matvec(weight, case.x(), X_ROW + 1, residual)),
                ("residual ignored", reference::matvec(weight, case.x(), X_ROW, None)),
            ] {
                rejects("matvec", &format!("{} {fault}", case.name()), &got, compare("matvec", &got, &wrong));
            }
            let case = Case::new(70, cols, layout, 3, false);
            let mut short = case.weight.weight.clone();
            short.parts[2].rows -= 4;
            let got = case.produce(&short);
            rejects("matvec", "last workgroup missing", &got, compare("matvec", &got, &case.want()));
        }
    });
}
