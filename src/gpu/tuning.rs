//! What was measured to be fastest on a device, as plain data; `kernels::choose` goes by it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An op on matrices of one shape in one layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunedOp {
    /// The op, as `matvec`.
    pub op: String,
    /// The name of the layout of the weights.
    pub layout: String,
    /// Rows of the whole matrix, however it is cut into parts.
    pub rows: u32,
    /// Its columns.
    pub cols: u32,
}

/// By which implementation, in workgroups of how many invocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tuned {
    /// Name of the implementation's kernel.
    pub implementation: String,
    /// Invocations of a workgroup.
    pub workgroup: u32,
}

/// All that was measured on a device; empty where nothing was. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning(Arc<[(TunedOp, Tuned)]>);

impl Tuning {
    /// These and no others.
    pub fn new(entries: impl IntoIterator<Item = (TunedOp, Tuned)>) -> Self {
        Self(entries.into_iter().collect())
    }

    /// What `op` is computed by on a matrix (`rows`, `cols`) in `layout`, if that was measured. There are a dozen entries, so they are walked.
    pub fn find(&self, op: &str, layout: &str, [rows, cols]: [u32; 2]) -> Option<&Tuned> {
        let is_it = |of: &TunedOp| (of.rows, of.cols) == (rows, cols) && of.op == op && of.layout == layout;
        self.0.iter().find(|(of, _)| is_it(of)).map(|(_, tuned)| tuned)
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
