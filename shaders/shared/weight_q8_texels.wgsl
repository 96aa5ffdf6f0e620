
// Blocks of 32 bytes, of which 128 is zero, two texels each (`kernels::WeightLayout::Q8Texels`): byte b of word e of texel j is
// column 16 j + 4 b + e. Behind the numbers of a tile lie its scales, of eight rows in a texel.
// `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    numbers: vec2<u32>,
    scales: vec4<u32>,
}
struct NAME_Row {
    first: vec4<u32>,
    second: vec4<u32>,
    scale: vec2<f32>,
}
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    let home = tile * ((runs * 136u + 127u) & ~127u);
    let scales = fold(home + runs * 128u + run * 8u + lane, shift);
    return NAME_Run(fold(home + run * 128u + lane, shift), textureLoad(NAME, scales$level));
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    let at = run.numbers + vec2<u32>(r * 16u, 0u);
    let scales = unpack2x16float(run.scales[r / 2u]);
    let scale = select(scales.x, scales.y, (r & 1u) != 0u);
    return NAME_Row(
        textureLoad(NAME, at$level),
        textureLoad(NAME, at + vec2<u32>(8u, 0u)$level),
        vec2<f32>(scale, -128.0 * scale),
    );
}
// Bytes stay where they lie in their word, 1 / NAME_unit(n) times too large (see weight_q4_texels).
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    let words = select(row.first, row.second, n >= 4u);
    if (n & 3u) == 3u {
        return vec4<f32>(vec4<i32>(words >> vec4<u32>(24u)));
    }
    return vec4<f32>(vec4<i32>(words & vec4<u32>(255u << (8u * (n & 3u)))));
}
fn NAME_unit(n: u32) -> f32 {
    return select(bitcast<f32>((127u - 8u * (n & 3u)) << 23u), 1.0, (n & 3u) == 3u);
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
