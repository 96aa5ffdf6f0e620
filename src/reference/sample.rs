//! Twin of `sample`: the draw of the CPU's own sampler, which sorts where the kernel searches, and also says how near
//! the choice came to another one.

pub use crate::sampling::draw as sample;
