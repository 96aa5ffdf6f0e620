//! A weight matrix on the device, split by rows where one binding cannot hold it.

use crate::gpu::Buffer;
use crate::gpu::pipeline::WeightFormat;

/// Consecutive rows of a matrix in a buffer of their own.
#[derive(Clone, Debug)]
pub struct WeightPart {
    /// (rows, cols) row-major.
    pub buffer: Buffer,
    /// First row of the matrix in this part.
    pub first_row: u32,
    /// Rows in this part.
    pub rows: u32,
}

/// A matrix (rows, cols), row-major.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Its parts in row order.
    pub parts: Vec<WeightPart>,
    /// Rows of all parts.
    pub rows: u32,
    /// Columns, a multiple of 4.
    pub cols: u32,
    /// How one element is stored.
    pub format: WeightFormat,
}
