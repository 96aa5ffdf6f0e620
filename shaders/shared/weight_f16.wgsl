
// Weights as pairs of 16-bit floats in a u32, four at a time. Needs no `f16` feature; arithmetic is 32-bit.
alias Weight4 = vec2<u32>;
fn weight4(packed: Weight4) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
