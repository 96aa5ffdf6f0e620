//! Twin of `penalize`: the step of the CPU's own sampler, given the window that the kernel finds in its ring of tokens.

pub use crate::sampling::penalize;
