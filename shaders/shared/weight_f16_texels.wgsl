
// Weights as 16-bit floats in texels of eight columns (`kernels::WeightLayout::F16Texels`). Arithmetic is 32-bit.
// `NAME` is the binding: this part is linked once for each.
// Where the run of eight columns number `run` begins, all tiles counted.
fn NAME_run(run: u32, shift: u32) -> vec2<u32> {
    return fold(run * 64u, shift);
}
// The columns of row 8 r + lane in the run that begins at `at`.
fn NAME_eight(at: vec2<u32>, r: u32, lane: u32) -> Eight {
    let t = textureLoad(NAME, at + vec2<u32>(r * 8u + lane, 0u)$level);
    return Eight(
        vec4<f32>(unpack2x16float(t.x), unpack2x16float(t.y)),
        vec4<f32>(unpack2x16float(t.z), unpack2x16float(t.w)),
    );
}
