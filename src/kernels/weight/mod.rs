//! A weight matrix on the device: its layout, and its parts where one binding cannot hold it.

mod layout;
mod pack;
mod precision;

use super::implementation::Layout;
use crate::gpu::{Binding, Buffer};
pub(super) use layout::TILE_ROWS;
pub use layout::WeightLayout;
pub use pack::Unfit;
pub use precision::{Precision, WeightFormat};

/// Weights in rows, which the kernels for GPUs read.
pub(super) const IN_ROWS: &[Layout] = &[
    Layout::Weight(WeightLayout::F32Rows),
    Layout::Weight(WeightLayout::F16Rows),
    Layout::Weight(WeightLayout::Q8Rows),
    Layout::Weight(WeightLayout::Q6Rows),
    Layout::Weight(WeightLayout::Q5Rows),
    Layout::Weight(WeightLayout::Q4Rows),
];

/// Those of them that are read a run at a time. Of 32-bit floats four columns are 16 bytes already.
pub(super) const IN_RUNS: &[Layout] = &[
    Layout::Weight(WeightLayout::F16Rows),
    Layout::Weight(WeightLayout::Q8Rows),
    Layout::Weight(WeightLayout::Q6Rows),
    Layout::Weight(WeightLayout::Q5Rows),
    Layout::Weight(WeightLayout::Q4Rows),
];

/// Weights in textures, which the kernels for software devices read.
pub(super) const IN_TEXELS: &[Layout] = &[
    Layout::Weight(WeightLayout::F32Texels),
    Layout::Weight(WeightLayout::F16Texels),
    Layout::Weight(WeightLayout::Q8Texels),
    Layout::Weight(WeightLayout::Q6Texels),
    Layout::Weight(WeightLayout::Q5Texels),
    Layout::Weight(WeightLayout::Q4Texels),
];

/// Consecutive rows of a matrix in a buffer of their own.
#[derive(Clone, Debug)]
pub struct WeightPart {
    /// (rows, cols) in this part's layout.
    pub buffer: Buffer,
    /// How they are stored: rows that come from different tensors of a file may differ.
    pub layout: WeightLayout,
    /// First row of the matrix in this part.
    pub first_row: u32,
    /// Rows in this part.
    pub rows: u32,
}

/// A matrix (rows, cols).
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its parts in row order.
    pub parts: Vec<WeightPart>,
    /// Rows of all parts.
    pub rows: u32,
    /// Columns, a multiple of 4.
    pub cols: u32,
}

impl Weight {
    /// Whether another matrix has the same shape, cut at the same rows into parts of the same layouts.
    pub fn lies_as(&self, other: &Self) -> bool {
        let of = |weight: &Self| -> Vec<_> {
            weight.parts.iter().map(|part| (part.first_row, part.rows, part.layout)).collect()
        };
        (self.rows, self.cols) == (other.rows, other.cols) && of(self) == of(other)
    }

    /// The layouts of its parts, each once.
    pub fn layouts(&self) -> Vec<WeightLayout> {
        let mut layouts: Vec<_> = self.parts.iter().map(|part| part.layout).collect();
        layouts.dedup();
        layouts
    }
}

impl WeightPart {
    /// The part as a kernel binds it.
    pub(super) fn binding(&self) -> Binding<'_> {
        self.buffer.all()
    }
}
