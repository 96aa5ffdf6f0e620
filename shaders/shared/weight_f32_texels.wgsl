
// Weights as 32-bit floats, eight columns in two texels (`kernels::WeightLayout::F32Texels`); see weight_f16_texels.
// `NAME` is the binding: this part is linked once for each.
alias NAME_Run = vec2<u32>;
struct NAME_Row {
    low: vec4<u32>,
    high: vec4<u32>,
}
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    return fold((tile * runs + run) * 128u + lane, shift);
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    let at = run + vec2<u32>(r * 16u, 0u);
    return NAME_Row(textureLoad(NAME, at$level), textureLoad(NAME, at + vec2<u32>(8u, 0u)$level));
}
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(select(row.low, row.high, n == 1u));
}
fn NAME_unit(n: u32) -> f32 {
    return 1.0;
}
fn NAME_begin(sum: f32) -> f32 {
    return sum;
}
fn NAME_end(sum: f32, part: f32, total: f32, row: NAME_Row) -> f32 {
    return part;
}
fn NAME_value(row: NAME_Row, four: vec4<f32>) -> vec4<f32> {
    return four;
}
