//! Twin of `adjust`: the first step of the CPU's own sampler. A second copy would only be a second place to be wrong in.

pub use crate::sampling::adjust;
