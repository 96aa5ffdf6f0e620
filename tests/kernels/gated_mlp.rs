//! `gated_mlp`: every implementation and layout, split weights, gates far from zero on both sides.

use killick::kernels::{Inputs, Norm, Precision, Weight, WeightLayout, gated_mlp};
use killick::model_file::Activation;
use killick::reference::{self, Matrix};

use crate::support::gpu::{
    Produced, buffer, each_layout, each_workgroup, input_rows, is_asked, output, run, thorough,
};
use crate::support::inputs::{TestWeight, drop_last_column, numbers, off_by_one_row, swap_two};
use crate::support::numerics::{compare, passes, rejects};
use crate::support::skip::skipped;

struct Case {
    layout: WeightLayout,
    gate: TestWeight,
    up: TestWeight,
    x: Vec<f32>,
    /// The gain, where x is normalized on the way.
    gain: Option<Vec<f32>>,
    activation: Activation,
}

const EPS: f32 = 1e-5;

impl Case {
    fn new(rows: usize, cols: usize, layout: WeightLayout, parts: usize) -> Self {
        let seed = (rows * 31 + cols) as u64;
        let gate = TestWeight::new(seed, rows, cols, layout, parts);
        let up = TestWeight::new(seed + 1, rows, cols, layout, parts);
        Self {
            layout,
            x: numbers(seed + 2, 1, gate.cols()),
            gate,
            up,
            gain: None,
            activation: Activation::Silu,
        }
    }

    fn name(&self) -> String {
        let Weight { rows, cols, parts } = &self.gate.weight;
        format!("{} ({rows}x{cols}) in {} parts", self.layout.name(), parts.len())
    }

    fn produce(&self, gate: &Weight, up: &Weight) -> Produced {
        let (x, out) = (input_rows("x", &self.x), output("out", gate.rows as usize));
        let gain = self.gain.as_ref().map(|gain| buffer("gain", gain));
        let mut inputs = Inputs::rows(&x, 1);
        if let Some(gain) = &gain {
            inputs = inputs.normalized(Norm { gain, eps: EPS });
        }
        run(&out, |rec| gated_mlp::record(rec, gate, up, inputs, &out, self.activation))
    }

    fn want(&self) -> Vec<f64> {
        let Some(gain) = &self.gain else {
            return reference::gated_mlp(self.gate.matrix(), self.up.matrix(), &self.x, self.activation);
        };
        let normalized = reference::rms_norm(Matrix::new(&self.x, 1, self.x.len()), gain, EPS);
        let normalized: Vec<f32> = normalized.iter().map(|v| *v as f32).collect();
        reference::gated_mlp(self.gate.matrix(), self.up.matrix(), &normalized, self.activation)
    }

    fn check(&self) {
        let got = self.produce(&self.gate.weight, &self.up.weight);
        passes("gated_mlp", &self.name(), &got, compare("gated_mlp", &got, &self.want()));
    }
}

#[test]
fn matches_the_reference() {
    each_layout("gated_mlp", |layout| {
        for (rows, cols, parts) in [
            (1, 4, 1),
            (3, 28, 1),
            (4, 32, 1),
            (5, 36, 2),
            (9, 252, 1),
            (257, 256, 3),
            (70, 260, 1),
            (13, 4096, 2),
            (1536, 576, 3),
        ] {
            Case::new(rows, cols, layout, parts).check();
        }
    });
}

#[test]
fn workgroups_may_be_tuned() {
    each_workgroup("gated_mlp", |layout| {
        for (rows, cols, parts) in [(1, 4, 1), (5, 36, 2), (70, 1028, 1), (13, 4096, 2)] {
            let case = Case::new(rows, cols, layout, parts);
            let gain = Some(numbers(9, 1, case.x.len()));
            Case { gain, ..case }.check();
        }
    });
}

#[test]
fn the_gate_may_be_a_gelu() {
    each_layout("gated_mlp", |layout| {
        for (rows, cols, parts) in [(5, 36, 2), (70, 260, 1), (257, 256, 3)] {
            let case = Case { activation: Activation::Gelu, ..Case::new(rows, cols, layout, parts) };
            case.check();
            let got = case.produce(&case.gate.weight, &case.up.weight);
            let other = Case { activation: Activation::Silu, ..case }.want();
            rejects("gated_mlp", "the other activation", &got, compare("gated_mlp", &got, &other));
        }
    });
}

#[test]
fn an_input_is_normalized_on_the_way() {
    each_layout("gated_mlp", |layout| {
        for (rows, cols, parts) in [(3, 28, 1), (70, 260, 2), (13, 4096, 1)] {
            let plain = Case::new(rows, cols, layout, parts);
            let gain = Some(numbers(9, 1, plain.x.len()));
            let case = Case { gain, ..plain };
            case.check();
            let got = case.produce(&case.gate.weight, &case.up.weight);
            let ones = Case { gain: Some(vec![1.0; case.x.len()]), ..Case::new(rows, cols, layout, parts) };
            for (fault, wrong) in [
                ("not normalized", Case::new(rows, cols, layout, parts).want()),
                ("without the gain", ones.want()),
            ] {
                rejects(
                    "gated_mlp",
                    &format!("{} {fault}", case.name()),
                    &got,
                    compare("gated_mlp", &got, &wrong),
                );
            }
        }
    });
}

#[test]
fn more_rows_than_one_dimension_has_workgroups() {
    each_layout("gated_mlp", |layout| {
        if is_asked(layout, 4 * 65_535 + 9, 4) {
            Case::new(4 * 65_535 + 9, 4, layout, 1).check();
        }
        // A tile of texels is a workgroup; so many are slow.
        if layout != WeightLayout::F16Texels {
            return;
        }
        if thorough() {
            Case::new(64 * 65_535 + 9, 8, layout, 1).check();
        } else {
            skipped(
                "gated_mlp of more tiles than one dimension has workgroups",
                "asked where a step is thorough (KILLICK_THOROUGH=1)",
            );
        }
    });
}

#[test]
fn gates_beyond_the_range_of_exp_are_finite() {
    // x = (1, 0, 0, ...): the gate is the first column.
    let gates =
        [-1e4_f32, -500.0, -89.0, -88.0, -80.0, -79.0, -20.0, -1e-8, 0.0, 1e-8, 20.0, 88.0, 89.0, 1e4];
    each_layout("gated_mlp", |layout| {
        if layout.precision() != Precision::F32 {
            return;
        }
        let mut case = Case::new(gates.len(), 8, layout, 1);
        let rows: Vec<f32> =
            gates.iter().flat_map(|gate| [*gate, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).collect();
        case.gate = TestWeight::of(&rows, gates.len(), 8, layout, 1);
        case.x = vec![0.0; 8];
        case.x[0] = 1.0;
        case.check();
    });
}

#[test]
fn the_check_rejects_faults() {
    each_layout("gated_mlp", |layout| {
        for cols in [64, 1024] {
            let case = Case::new(70, cols, layout, 2);
            let got = case.produce(&case.gate.weight, &case.up.weight);
            let want = case.want();
            let dropped = drop_last_column(&case.up.values, cols);
            let dropped = reference::gated_mlp(
                case.gate.matrix(),
                Matrix::new(&dropped, 70, cols),
                &case.x,
                case.activation,
            );
            for (fault, wrong) in [
                ("last term dropped", dropped),
                ("off-by-one row", off_by_one_row(&want, 1)),
                ("two lanes swapped", swap_two(&want)),
                (
                    "gate and up swapped",
                    reference::gated_mlp(case.up.matrix(), case.gate.matrix(), &case.x, case.activation),
                ),
            ] {
                rejects(
                    "gated_mlp",
                    &format!("{} {fault}", case.name()),
                    &got,
                    compare("gated_mlp", &got, &wrong),
                );
            }
            let (mut gate, mut up) = (case.gate.weight.clone(), case.up.weight.clone());
            gate.parts[1].rows -= 4;
            up.parts[1].rows -= 4;
            let got = case.produce(&gate, &up);
            rejects("gated_mlp", "last workgroup missing", &got, compare("gated_mlp", &got, &want));
        }
    });
}
