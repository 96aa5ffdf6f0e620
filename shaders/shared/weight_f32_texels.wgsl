
// Weights as 32-bit floats, eight columns in two texels (`kernels::WeightLayout::F32Texels`).
// `NAME` is the binding: this part is linked once for each.
// Where the run of eight columns number `run` begins, all tiles counted.
fn NAME_run(run: u32, shift: u32) -> vec2<u32> {
    return fold(run * 128u, shift);
}
// The columns of row 8 r + lane in the run that begins at `at`.
fn NAME_eight(at: vec2<u32>, r: u32, lane: u32) -> Eight {
    let low = at + vec2<u32>(r * 16u + lane, 0u);
    return Eight(
        bitcast<vec4<f32>>(textureLoad(NAME, low$level)),
        bitcast<vec4<f32>>(textureLoad(NAME, low + vec2<u32>(8u, 0u)$level)),
    );
}
