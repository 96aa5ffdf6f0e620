
// Weights as 32-bit floats, four at a time.
alias Weight4 = vec4<f32>;
fn weight4(packed: Weight4) -> vec4<f32> {
    return packed;
}
