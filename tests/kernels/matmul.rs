//! `matmul`: every implementation and layout, tiles of every shape, split weights, with and without the residual.

use killick::kernels::{Inputs, Precision, Product, Update, Weight, WeightLayout, choose, matmul};
use killick::reference::{self, Matrix};

use crate::support::gpu::{
    Produced, buffer, each_layout, each_workgroup, gpu, input_rows, is_asked, judged_as, output, run,
};
use crate::support::inputs::{TestWeight, drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};

/// Rows of x before and after those that are multiplied.
const X_ROW: usize = 2;

struct Case {
    layout: WeightLayout,
    weight: TestWeight,
    x: Vec<f32>,
    inputs: usize,
    residual: Option<Vec<f32>>,
}

impl Case {
    fn new(
        inputs: usize,
        rows: usize,
        cols: usize,
        layout: WeightLayout,
        parts: usize,
        residual: bool,
    ) -> Self {
        let seed = (inputs * 37 + rows * 31 + cols) as u64;
        let weight = TestWeight::new(seed, rows, cols, layout, parts);
        Self {
            layout,
            x: numbers(seed + 1, inputs + 2 * X_ROW, weight.cols()),
            weight,
            inputs,
            residual: residual.then(|| numbers(seed + 2, inputs, rows)),
        }
    }

    /// The same, with its inputs and its weights many times as large. The weights are still what the layout holds.
    fn times(self, x: f32, weight: f32) -> Self {
        let (rows, cols) = (self.weight.weight.rows as usize, self.weight.cols());
        let values: Vec<f32> = self.weight.values.iter().map(|value| value * weight).collect();
        let weight = TestWeight::of(&values, rows, cols, self.layout, self.weight.weight.parts.len());
        Self { weight, x: self.x.iter().map(|value| value * x).collect(), ..self }
    }

    fn name(&self) -> String {
        let Weight { rows, cols, parts } = &self.weight.weight;
        let residual = if self.residual.is_some() { " +residual" } else { "" };
        format!(
            "{}{residual} ({}x{cols} by {rows}x{cols}) in {} parts",
            self.layout.name(),
            self.inputs,
            parts.len()
        )
    }

    fn produce(&self, weight: &Weight, inputs: usize) -> Produced {
        let x = input_rows("x", &self.x);
        let (out, update) = match &self.residual {
            Some(residual) => (buffer("out", residual), Update::Add),
            None => (output("out", self.inputs * weight.rows as usize), Update::Replace),
        };
        let inputs = Inputs::rows(&x, inputs as u32).from(X_ROW as u32);
        run(&out, |rec| matmul::record(rec, Product { weight, inputs, out: &out, update }))
    }

    fn x(&self) -> Matrix<'_> {
        Matrix::new(&self.x, self.inputs + 2 * X_ROW, self.weight.weight.cols as usize)
    }

    fn want(&self) -> Vec<f64> {
        reference::matmul(self.weight.matrix(), self.x(), X_ROW, self.inputs, self.residual.as_deref())
    }

    fn check(&self) {
        let got = self.produce(&self.weight.weight, self.inputs);
        passes(judged_as("matmul"), &self.name(), &got, compare(judged_as("matmul"), &got, &self.want()));
    }
}

#[test]
fn matches_the_reference() {
    each_layout("matmul", |layout| {
        for (inputs, rows, cols) in [
            (1, 1, 4),
            (3, 3, 28),
            (4, 4, 32),
            (5, 5, 36),
            (7, 9, 252),
            (64, 64, 256),
            (33, 17, 260),
            (2, 257, 1028),
            (9, 6, 4096),
            (5, 7, 8192),
            (8, 64, 64),
            (13, 70, 2056),
            (3, 66, 11_008),
            (0, 8, 8),
        ] {
            Case::new(inputs, rows, cols, layout, 1, rows % 2 == 0).check();
            Case::new(inputs, rows, cols, layout, 1, rows % 2 == 1).check();
        }
    });
}

/// Around the sizes of a tile, in rows and in inputs, and columns that fill no step.
#[test]
fn tiles_may_be_filled_in_part() {
    each_layout("matmul", |layout| {
        for (inputs, rows) in [(15, 31), (16, 32), (31, 33), (32, 65), (33, 1), (70, 97), (1, 40)] {
            for cols in [4, 12, 20, 1028] {
                Case::new(inputs, rows, cols, layout, 1 + rows % 2, rows % 3 == 0).check();
            }
        }
    });
}

#[test]
fn workgroups_may_be_tuned() {
    each_workgroup("matmul", |layout| {
        for (inputs, rows, cols) in [(1, 1, 4), (17, 63, 260), (70, 129, 1028), (65, 64, 64), (64, 65, 20)] {
            Case::new(inputs, rows, cols, layout, 1 + rows % 2, false).check();
        }
        let case = Case::new(70, 65, 1028, layout, 1, false);
        let got = case.produce(&case.weight.weight, 70);
        let want = case.want();
        for (fault, wrong) in [
            ("off-by-one row", off_by_one_row(&want, 1)),
            ("off-by-one input", off_by_one_row(&want, 65)),
            ("two lanes swapped", swap_two(&want)),
        ] {
            rejects(
                judged_as("matmul"),
                &format!("{} {fault}", case.name()),
                &got,
                compare(judged_as("matmul"), &got, &wrong),
            );
        }
    });
}

/// Numbers as large and as small as 32-bit floats hold, far beyond 16-bit ones: each row and each input has its own size.
#[test]
fn inputs_and_weights_of_any_size_are_multiplied() {
    each_layout("matmul", |layout| {
        let case = || Case::new(33, 40, 260, layout, 1, false);
        for x in [1e5, 1e-6, 1e30, 1e-25] {
            case().times(x, 1.0).check();
        }
        if layout.precision() == Precision::F32 {
            for (x, weight) in [(1.0, 1e5), (1e5, 1e5), (1e-6, 1e-6), (1e25, 1e-30), (1e-30, 1e25)] {
                case().times(x, weight).check();
            }
        }
        // Sizes side by side, each judged alone.
        let mut case = case();
        let cols = case.weight.cols();
        for (row, x) in case.x.chunks_mut(cols).enumerate() {
            x.iter_mut().for_each(|x| *x *= [1.0, 1e5, 1e-6, 3e20][row % 4]);
        }
        let (got, want) = (case.produce(&case.weight.weight, case.inputs), case.want());
        for (input, want) in want.chunks(40).enumerate() {
            let alone = got.part(40 * input, 40);
            passes(
                judged_as("matmul"),
                &format!("input {input}"),
                &alone,
                compare(judged_as("matmul"), &alone, want),
            );
        }
    });
}

/// As real models have them: a column far larger than its neighbours, here one that the weights leave out, so that what is left of the others
/// is all there is. Where they would drown in it, the check would see that.
#[test]
fn numbers_beside_a_large_outlier_count() {
    each_layout("matmul", |layout| {
        // Some kernels take the zero of a block out of the sum behind it, which is a rounding of the outlier times that zero, in 32 bits.
        if layout.precision().blocks().is_some() {
            return;
        }
        for outlier in [1e4, 1e5] {
            let mut case = Case::new(33, 40, 260, layout, 1, false);
            let cols = case.weight.cols();
            let mut values = case.weight.values.clone();
            values.chunks_mut(cols).for_each(|row| row[5] = 0.0);
            case.weight = TestWeight::of(&values, 40, cols, layout, 1);
            case.x.chunks_mut(cols).for_each(|x| x[5] = outlier);
            case.check();
        }
        // And one that counts.
        let mut case = Case::new(33, 40, 260, layout, 1, true);
        let cols = case.weight.cols();
        case.x.chunks_mut(cols).for_each(|x| x[77] = 1e5);
        case.check();
    });
}

/// Around the most columns that a uniform holds, in the layout that a model of such a width would get.
#[test]
fn a_row_of_inputs_too_long_for_a_uniform_is_multiplied_too() {
    for cols in [16_376, 16_384, 16_392] {
        let layout = choose::weight_layout(Precision::F16, cols, gpu().capabilities());
        Case::new(3, 70, cols as usize, layout, 1, true).check();
    }
}

#[test]
fn a_split_weight_is_the_same_weight() {
    each_layout("matmul", |layout| {
        for (inputs, rows, cols, parts) in [(3, 5, 64, 5), (6, 257, 64, 2), (2, 32_002, 32, 3)] {
            if !is_asked(layout, rows, cols) {
                continue;
            }
            Case::new(inputs, rows, cols, layout, parts, false).check();
            Case::new(inputs, rows, cols, layout, parts, true).check();
        }
    });
}

#[test]
fn more_tiles_than_one_dimension_has_workgroups() {
    each_layout("matmul", |layout| {
        if is_asked(layout, 4 * 21_900 + 3, 4) {
            Case::new(9, 4 * 21_900 + 3, 4, layout, 1, false).check();
        }
    });
}

#[test]
fn the_check_rejects_faults() {
    each_layout("matmul", |layout| {
        for cols in [64, 8192] {
            let case = Case::new(9, 22, cols, layout, 2, true);
            let (weight, residual) = (case.weight.matrix(), case.residual.as_deref());
            let got = case.produce(&case.weight.weight, 9);
            let want = case.want();
            let dropped = drop_last_column(weight.values, cols);
            let dropped = reference::matmul(Matrix::new(&dropped, 22, cols), case.x(), X_ROW, 9, residual);
            for (fault, wrong) in [
                ("last term dropped", dropped),
                ("off-by-one row", off_by_one_row(&want, 1)),
                ("off-by-one input", off_by_one_row(&want, 22)),
                ("two lanes swapped", swap_two(&want)),
                ("another row of x", reference::matmul(weight, case.x(), X_ROW + 1, 9, residual)),
                ("residual ignored", reference::matmul(weight, case.x(), X_ROW, 9, None)),
            ] {
                rejects(
                    judged_as("matmul"),
                    &format!("{} {fault}", case.name()),
                    &got,
                    compare(judged_as("matmul"), &got, &wrong),
                );
            }
            let case = Case::new(9, 22, cols, layout, 2, false);
            let got = case.produce(&case.weight.weight, 8);
            rejects(
                judged_as("matmul"),
                "last workgroups missing",
                &got,
                compare(judged_as("matmul"), &got, &case.want()),
            );
            let mut overlapping = case.weight.weight.clone();
            overlapping.parts[1].first_row -= 1;
            let got = case.produce(&overlapping, 9);
            rejects(
                judged_as("matmul"),
                "a part off by one row",
                &got,
                compare(judged_as("matmul"), &got, &case.want()),
            );
        }
    });
}
