
// Blocks of 32 numbers of 6 bits (`kernels::WeightLayout::Q6Texels`): as weight_q4_texels, with the upper bits of two rows in a texel.
// `NAME` is the binding: this part is linked once for each.
// The two scales are those of the first and of the last 16 columns.
struct NAME_Run {
    numbers: vec2<u32>,
    bits0: vec4<u32>,
    bits1: vec4<u32>,
    bits2: vec4<u32>,
    bits3: vec4<u32>,
    low_scales: vec4<u32>,
    high_scales: vec4<u32>,
}
struct NAME_Row {
    numbers: vec4<u32>,
    bits: vec2<u32>, // the upper bits of column 16 h + c are bits 2 c and 2 c + 1 of word h
    scale: vec2<f32>,
}
fn NAME_run(tile: u32, run: u32, runs: u32, shift: u32, lane: u32) -> NAME_Run {
    let home = tile * ((runs * 112u + 63u) & ~63u);
    let bits = fold(home + runs * 64u + run * 32u + lane, shift);
    let scales = fold(home + runs * 96u + run * 16u + lane, shift);
    return NAME_Run(
        fold(home + run * 64u + lane, shift),
        textureLoad(NAME, bits$level),
        textureLoad(NAME, bits + vec2<u32>(8u, 0u)$level),
        textureLoad(NAME, bits + vec2<u32>(16u, 0u)$level),
        textureLoad(NAME, bits + vec2<u32>(24u, 0u)$level),
        textureLoad(NAME, scales$level),
        textureLoad(NAME, scales + vec2<u32>(8u, 0u)$level),
    );
}
fn NAME_row(run: NAME_Run, r: u32) -> NAME_Row {
    let four_rows = select(
        select(run.bits0, run.bits1, (r & 2u) != 0u),
        select(run.bits2, run.bits3, (r & 2u) != 0u),
        r >= 4u,
    );
    let bits = select(four_rows.xy, four_rows.zw, (r & 1u) != 0u);
    let scale = select(run.low_scales, run.high_scales, r >= 4u)[r & 3u];
    return NAME_Row(textureLoad(NAME, run.numbers + vec2<u32>(r * 8u, 0u)$level), bits, unpack2x16float(scale));
}
fn NAME_four(row: NAME_Row, n: u32) -> vec4<f32> {
    let low = (row.numbers >> vec4<u32>(4u * n)) & vec4<u32>(15u);
    let bits = select(row.bits.x, row.bits.y, n >= 4u) >> (8u * (n & 3u));
    let high = (vec4<u32>(bits) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    let scale = select(row.scale.x, row.scale.y, n >= 4u);
    return vec4<f32>(vec4<i32>(low | (high << vec4<u32>(4u))) - vec4<i32>(32)) * scale;
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
