//! Benchmarks: what is measured, and what is reported of it. Data and text; the command line prints it, and a page in the browser may.
//!
//! ```text
//! measure.rs   a test of a model, end to end
//! text.rs      the synthetic text that it reads
//! traffic.rs   what a token costs by formula
//! ceilings.rs  what the device can do at best
//! kernels/     kernels one by one
//! agree.rs     whether one is right
//! timing.rs    how a kernel is timed
//! shapes.rs    shapes of known models
//! schema.rs    the rows of the report, and how they are read again
//! rows.rs      from what was measured to the rows
//! table.rs     the rows as Markdown, CSV and JSON
//! compare.rs   reports side by side
//! page.rs      reports as a page
//! ```
//!
//! A time is that of the clock on the wall. Beside it stand the processor time of the process and, where the adapter has timestamps, the
//! time that the device says it worked. Both come from the caller or the device; nothing here depends on an operating system.

mod agree;
mod ceilings;
mod compare;
mod error;
mod kernels;
mod measure;
mod page;
mod random;
mod rows;
mod schema;
mod shapes;
mod table;
mod text;
mod timing;
mod traffic;

pub use agree::{Expected, agree};
pub use ceilings::{Ceilings, ceilings};
pub use compare::{Report, machines, side_by_side};
pub use error::BenchError;
pub use kernels::{KernelCase, Trial, TunedProduct, kernel_cases, tune};
pub use measure::{Measured, Method, Test, measure, with_room};
pub use page::page;
pub use rows::Subject;
pub use schema::{KernelRow, Kind, Machine, ProfileRow, Row, SCHEMA, TestRow, rows};
pub use shapes::{shape, shape_config, shape_names};
pub use table::{MOST_SPREAD, Table, csv, json, jsonl, markdown, markdown_of, remarks, tables};
pub use traffic::{Cost, Traffic};
