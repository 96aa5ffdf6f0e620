
// Textures read as sampled textures, without a sampler.
alias WordTexels = texture_2d<u32>;
alias FloatTexels = texture_2d<f32>;
// Of keys and values.
alias EntryTexels = texture_2d<$component>;
