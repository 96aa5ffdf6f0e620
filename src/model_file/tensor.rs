//! Where each tensor of a file lies, checked by the one size function and the one layout rule.
//!
//! Both formats store tensors one after the other, so a single running offset decides alignment,
//! holes, overlaps and the end of the file together. Past fixes of other readers were bypassed
//! because each guarded one addition only (llama.cpp, CVE-2025-53630 and CVE-2026-27940).

use std::ops::Range;
use std::sync::Arc;

use super::dtype::Dtype;
use super::error::{ModelFileError, quoted};
use super::reader::{READ_BYTES, len_u64, read_exact, to_usize};
use super::source::FileSet;

/// A tensor as it lies in its file.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// How the weights are stored.
    pub dtype: Dtype,
    /// Dimensions, slowest first: `[rows, columns]` for a matrix.
    pub shape: Vec<u64>,
    /// Stored size in bytes.
    pub bytes: u64,
    /// The file that holds it.
    pub(super) file: Arc<str>,
    /// First byte, from the start of the file.
    pub(super) offset: u64,
}

impl TensorInfo {
    /// What messages call it.
    pub(super) fn field(&self) -> String {
        field(&self.name)
    }

    /// Appends rows of `columns` weights to `out`, as the file orders them, about 1 MiB read at a time.
    ///
    /// The caller has checked shape and rows: a row is a whole number of bytes, and all rows lie inside the file.
    pub(super) async fn read_rows(
        &self,
        files: &FileSet,
        columns: usize,
        rows: Range<u32>,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelFileError> {
        let row_bytes = self.dtype.bytes_of(len_u64(columns)).unwrap_or_default();
        let rows_at_once = len_u64(READ_BYTES).checked_div(row_bytes).unwrap_or_default().max(1);
        let (mut row, end) = (u64::from(rows.start), u64::from(rows.end));
        while row < end {
            let count = rows_at_once.min(end.saturating_sub(row));
            let bytes =
                self.read_raw(files, row.saturating_mul(row_bytes), count.saturating_mul(row_bytes)).await?;
            let filled = out.len();
            let count = to_usize(&self.file, &self.field(), count)?;
            out.resize(filled.saturating_add(count.saturating_mul(columns)), 0.0);
            self.dtype.dequantize(&bytes, out.get_mut(filled..).unwrap_or_default());
            row = row.saturating_add(rows_at_once);
        }
        Ok(())
    }

    /// Appends the stored bytes of rows of `columns` weights to `out`. As for [`TensorInfo::read_rows`], the caller has checked.
    pub(super) async fn read_bytes(
        &self,
        files: &FileSet,
        columns: usize,
        rows: Range<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), ModelFileError> {
        let row_bytes = self.dtype.bytes_of(len_u64(columns)).unwrap_or_default();
        let count = u64::from(rows.end).saturating_sub(rows.start.into());
        let first = u64::from(rows.start).saturating_mul(row_bytes);
        out.extend(self.read_raw(files, first, count.saturating_mul(row_bytes)).await?);
        Ok(())
    }

    /// `len` bytes of the tensor from its byte `at` on.
    async fn read_raw(&self, files: &FileSet, at: u64, len: u64) -> Result<Vec<u8>, ModelFileError> {
        let source = files.get(&self.file).ok_or_else(|| ModelFileError::Missing {
            file: files.label().to_owned(),
            field: self.file.to_string(),
        })?;
        let len = to_usize(&self.file, &self.field(), len)?;
        let offset = self.offset.saturating_add(at);
        read_exact(source.as_ref(), &self.file, &self.field(), offset, len).await
    }
}

/// What messages call a tensor of that name.
pub(super) fn field(name: &str) -> String {
    format!("tensor {}", quoted(name))
}

/// The running layout of one file.
pub(super) struct Layout {
    pub(super) file: Arc<str>,
    pub(super) file_len: u64,
    /// First byte of the tensor data, from the start of the file.
    pub(super) data_start: u64,
    /// Every offset is a multiple of this.
    pub(super) alignment: u64,
    /// Where the next tensor must start, from `data_start`.
    pub(super) next: u64,
}

impl Layout {
    /// Places the next tensor, which the file claims to lie at `offset` from the data's start.
    pub(super) fn place(
        &mut self,
        name: String,
        dtype: Dtype,
        shape: Vec<u64>,
        offset: u64,
    ) -> Result<TensorInfo, ModelFileError> {
        let bytes = byte_len(dtype, &shape)
            .map_err(|expected| self.invalid(&name, "shape", format!("{shape:?}"), expected))?;
        let start = self.pass(&name, bytes, offset)?;
        Ok(TensorInfo { name, dtype, shape, bytes, file: Arc::clone(&self.file), offset: start })
    }

    /// Passes over the next tensor, `bytes` long, which the file claims to lie at `offset` from the data's start. Gives its first byte
    /// from the start of the file.
    pub(super) fn pass(&mut self, name: &str, bytes: u64, offset: u64) -> Result<u64, ModelFileError> {
        if !offset.is_multiple_of(self.alignment) {
            return Err(self.invalid(
                name,
                "offset",
                offset.to_string(),
                format!("a multiple of {}", self.alignment),
            ));
        }
        if offset != self.next {
            return Err(self.invalid(
                name,
                "offset",
                offset.to_string(),
                format!("{}, right after the tensor before", self.next),
            ));
        }
        let start = self.data_start.saturating_add(offset);
        let have = self.file_len.saturating_sub(start);
        if bytes > have {
            return Err(ModelFileError::Truncated {
                file: self.file.to_string(),
                field: field(name),
                offset: start,
                need: bytes,
                have,
            });
        }
        // The sum lies inside the file; only the padding after it could pass the end of u64.
        let next = offset.saturating_add(bytes).checked_next_multiple_of(self.alignment);
        self.next = next
            .ok_or_else(|| self.invalid(name, "end", u64::MAX.to_string(), "an end below 2^64".to_owned()))?;
        Ok(start)
    }

    fn invalid(&self, name: &str, what: &str, value: String, expected: String) -> ModelFileError {
        let (file, field) = (self.file.to_string(), format!("{} {what}", field(name)));
        ModelFileError::Invalid { file, field, value, expected }
    }
}

/// Bytes of a tensor, or the rule its shape breaks.
pub(super) fn byte_len(dtype: Dtype, shape: &[u64]) -> Result<u64, String> {
    if shape.contains(&0) {
        return Err("no dimension of 0".to_owned());
    }
    let block = u64::from(dtype.block_elems());
    if !shape.last().is_none_or(|columns| columns.is_multiple_of(block)) || (shape.is_empty() && block > 1) {
        return Err(format!("rows of a multiple of {block} weights, the block of {}", dtype.name()));
    }
    shape
        .iter()
        .try_fold(1_u64, |product, dim| product.checked_mul(*dim))
        .and_then(|elems| dtype.bytes_of(elems))
        .ok_or_else(|| "a size in bytes below 2^64".to_owned())
}
