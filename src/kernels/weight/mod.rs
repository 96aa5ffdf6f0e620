//! A weight matrix on the device: its layout, and its parts where one binding cannot hold it.

mod layout;

use super::choose::Layout;
use crate::gpu::{Binding, Buffer};
pub(super) use layout::TILE_ROWS;
pub use layout::{Unfit, WeightFormat, WeightLayout};

/// Weights in rows, which the kernels for GPUs read.
pub(super) const IN_ROWS: &[Layout] = &[
    Layout::Weight(WeightLayout::F32Rows),
    Layout::Weight(WeightLayout::F16Rows),
    Layout::Weight(WeightLayout::Q8_0Rows),
];

/// Weights in textures, which the kernels for software devices read.
pub(super) const IN_TEXELS: &[Layout] =
    &[Layout::Weight(WeightLayout::F32Texels), Layout::Weight(WeightLayout::F16Texels)];

/// Consecutive rows of a matrix in a buffer of their own.
#[derive(Clone, Debug)]
pub struct WeightPart {
    /// (rows, cols) in the weight's layout.
    pub buffer: Buffer,
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
    /// How the elements are stored.
    pub layout: WeightLayout,
}

impl WeightPart {
    /// The part as a kernel binds it.
    pub(super) fn binding(&self) -> Binding<'_> {
        self.buffer.all()
    }
}
