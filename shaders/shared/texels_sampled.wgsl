
// Textures read as sampled textures, without a sampler.
alias WordTexels = texture_2d<u32>;
alias FloatTexels = texture_2d<f32>;
fn load_words(texels: WordTexels, at: vec2<u32>) -> vec4<u32> {
    return textureLoad(texels, at, 0);
}
fn load_floats(texels: FloatTexels, at: vec2<u32>) -> vec4<f32> {
    return textureLoad(texels, at, 0);
}
