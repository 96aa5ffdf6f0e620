
// Blocks of 32 numbers of 4 bits, a texel each (`kernels::WeightLayout::Q4Texels`): nibble n of word e is column 4 n + e.
// `NAME` is the binding: this part is linked once for each.
// Behind the numbers of a tile lie its scales, of four rows in a texel.
struct NAME_Run {
    numbers: vec2<u32>,
    low_scales: vec4<u32>,
    high_scales: vec4<u32>,
}
struct NAME_Row {
    numbers: vec4<u32>,
    scale: vec2<f32>,
}
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    let home = tile * ((runs * 80u + 63u) & ~63u);
    let scales = fold(home + runs * 64u + run * 16u + lane, shift);
    return NAME_Run(
        fold(home + run * 64u + lane, shift),
        textureLoad(NAME, scales$level),
        textureLoad(NAME, scales + vec2<u32>(8u, 0u)$level),
    );
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    let scale = select(run.low_scales, run.high_scales, r >= 4u)[r & 3u];
    return NAME_Row(textureLoad(NAME, run.numbers + vec2<u32>(r * 8u, 0u)$level), unpack2x16float(scale));
}
// Numbers stay where they lie in their word, which saves a shift for each: those of four n come 1 / NAME_unit(n) times too large. The
// uppermost would be negative, so they are shifted, and need no mask for it.
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    if n == 7u {
        return vec4<f32>(vec4<i32>(row.numbers >> vec4<u32>(28u)));
    }
    return vec4<f32>(vec4<i32>(row.numbers & vec4<u32>(15u << (4u * n))));
}
fn NAME_unit(n: u32) -> f32 {
    return select(bitcast<f32>((127u - 4u * n) << 23u), 1.0, n == 7u);
}
// The products of a block have its scale and, times the sum of the inputs, its minimum.
fn NAME_begin(sum: f32) -> f32 {
    return 0.0;
}
fn NAME_end(sum: f32, part: f32, total: f32, row: NAME_Row) -> f32 {
    return sum + row.scale.x * part + row.scale.y * total;
}
fn NAME_value(row: NAME_Row, four: vec4<f32>) -> vec4<f32> {
    return row.scale.x * four + row.scale.y;
}
