
// Weights as 16-bit floats in texels of eight columns (`kernels::WeightLayout::F16Texels`). Arithmetic is 32-bit.
// `NAME` is the binding: this part is linked once for each.
// A run of columns of a tile, as far as its rows share it.
alias NAME_Run = vec2<u32>;
// The run of one row.
alias NAME_Row = vec4<u32>;
// Run `run` of `runs` in tile `tile`, for the rows 8 r + lane.
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    return fold((tile * runs + run) * 64u + lane, shift);
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    return textureLoad(NAME, run + vec2<u32>(r * 8u, 0u)$level);
}
// Four columns of the run, from column 4 n on.
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    let pair = select(row.xy, row.zw, n == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
// What the numbers of four n are to be multiplied with, or the inputs instead.
fn NAME_unit(n: u32) -> f32 {
    return 1.0;
}
// A sum over rows goes on with the products of a run: where they begin, and what they come to.
fn NAME_begin(sum: f32) -> f32 {
    return sum;
}
fn NAME_end(sum: f32, part: f32, total: f32, row: NAME_Row) -> f32 {
    return part;
}
// The weights that `four` are.
fn NAME_value(row: NAME_Row, four: vec4<f32>) -> vec4<f32> {
    return four;
}
