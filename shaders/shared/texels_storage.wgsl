
// Textures read as storage textures.
alias WordTexels = texture_storage_2d<rgba32uint, read>;
alias FloatTexels = texture_storage_2d<rgba32float, read>;
fn load_words(texels: WordTexels, at: vec2<u32>) -> vec4<u32> {
    return textureLoad(texels, at);
}
fn load_floats(texels: FloatTexels, at: vec2<u32>) -> vec4<f32> {
    return textureLoad(texels, at);
}
