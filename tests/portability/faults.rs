//! Faults that the shaders once had, or could have, which no driver of this machine shows: each is planted in the text of a
//! sound variant, and `scripts/portability.sh` demands that the compiler named with it refuses the result.

/// A fault, and where it is planted.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) kernel: &'static str,
    pub(crate) subgroups: bool,
    /// What is replaced, by what, once each.
    pub(crate) edits: &'static [(&'static str, &'static str)],
    pub(crate) zero_workgroup_memory: bool,
}

const VARYING_BARRIER: &[(&str, &str)] = &[(
    "            largest[lanes.index] = max(",
    "            workgroupBarrier();\n            largest[lanes.index] = max(",
)];

/// The part of the name before the first hyphen is the compiler that must refuse it.
pub(crate) const FAULTS: &[Fault] = &[
    // FXC: X3511, it has to unroll the loop and cannot.
    Fault {
        name: "fxc-chosen-component",
        kernel: "attention",
        subgroups: false,
        edits: &[(
            "            if lane < head_dim {\n                next.values.x += weight * value_at(here, lane);\n",
            "            for (var c = 0u; c * WORKGROUP < head_dim; c++) {\n                let column = c * WORKGROUP + lane;\n                if column < head_dim { next.values[c] += weight * value_at(here, column); }\n",
        )],
        zero_workgroup_memory: false,
    },
    // DXC: names that nothing declares.
    Fault {
        name: "dxc-hidden-subgroup",
        kernel: "rms_norm",
        subgroups: true,
        edits: &[("lanes: Lanes, @builtin(subgroup_size) subgroup_size: u32)", "lanes: Lanes)")],
        zero_workgroup_memory: false,
    },
    // Tint: a barrier that only some of the lanes reach.
    Fault {
        name: "tint-varying-barrier",
        kernel: "nll",
        subgroups: false,
        edits: VARYING_BARRIER,
        zero_workgroup_memory: false,
    },
    // FXC sees that as well: X3663.
    Fault {
        name: "fxc-varying-barrier",
        kernel: "nll",
        subgroups: false,
        edits: VARYING_BARRIER,
        zero_workgroup_memory: false,
    },
    // Tint at the least limits: more workgroup memory than every device has.
    Fault {
        name: "tint-workgroup-memory",
        kernel: "nll",
        subgroups: false,
        edits: &[(
            "var<workgroup> largest: array<f32, WORKGROUP>;",
            "var<workgroup> largest: array<f32, 8000>;",
        )],
        zero_workgroup_memory: false,
    },
    // FXC again: it takes longer than anybody waits for.
    Fault {
        name: "slow-zeroing",
        kernel: "sample",
        subgroups: false,
        edits: &[],
        zero_workgroup_memory: true,
    },
];

impl Fault {
    /// The text with the fault in it.
    pub(crate) fn plant(&self, text: &str) -> String {
        self.edits.iter().fold(text.to_owned(), |text, (sound, broken)| {
            assert_eq!(text.matches(sound).count(), 1, "{}: {sound:?}", self.name);
            text.replacen(sound, broken, 1)
        })
    }
}
