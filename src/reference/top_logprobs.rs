//! Twin of `top_logprobs`: what the CPU's own sampler reports. A second copy would only be a second place to be wrong in.

pub use crate::sampling::top_logprobs;
