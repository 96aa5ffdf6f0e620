
// Blocks of 32 numbers of 5 bits (`kernels::WeightLayout::Q5Texels`): as weight_q4_texels, with the fifth bits of four rows in a texel.
// `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    numbers: vec2<u32>,
    low_bits: vec4<u32>,
    high_bits: vec4<u32>,
    low_scales: vec4<u32>,
    high_scales: vec4<u32>,
}
struct NAME_Row {
    numbers: vec4<u32>,
    bits: vec4<u32>, // the fifth bit of column 4 n + e is bit 4 n + 4 of word e, that of the last four is missing
    last: vec4<u32>, // it is bit 28 of word e of these
    scale: vec2<f32>,
}
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    let home = tile * ((runs * 96u + 63u) & ~63u);
    let bits = fold(home + runs * 64u + run * 16u + lane, shift);
    let scales = fold(home + runs * 80u + run * 16u + lane, shift);
    return NAME_Run(
        fold(home + run * 64u + lane, shift),
        textureLoad(NAME, bits$level),
        textureLoad(NAME, bits + vec2<u32>(8u, 0u)$level),
        textureLoad(NAME, scales$level),
        textureLoad(NAME, scales + vec2<u32>(8u, 0u)$level),
    );
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    let bits = select(run.low_bits, run.high_bits, r >= 4u)[r & 3u];
    let scale = select(run.low_scales, run.high_scales, r >= 4u)[r & 3u];
    return NAME_Row(
        textureLoad(NAME, run.numbers + vec2<u32>(r * 8u, 0u)$level),
        vec4<u32>(bits) << vec4<u32>(4u, 3u, 2u, 1u),
        vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u),
        unpack2x16float(scale),
    );
}
// Numbers stay where they lie in their word, 1 / NAME_unit(n) times too large (see weight_q4_texels).
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    if n == 7u {
        let high = (row.last >> vec4<u32>(24u)) & vec4<u32>(16u);
        return vec4<f32>(vec4<i32>((row.numbers >> vec4<u32>(28u)) | high));
    }
    let high = row.bits & vec4<u32>(16u << (4u * n));
    return vec4<f32>(vec4<i32>((row.numbers & vec4<u32>(15u << (4u * n))) | high));
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
