
// Weights in rows of numbers of 6 bits (see weight_q6), a block at a time. `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    numbers: vec4<u32>, // four bits of each, eight columns in a word
    bits: vec2<u32>,    // the two bits above, sixteen columns in a word
    scale: vec2<f32>,   // of the first sixteen columns, of the others
}
// Where a row begins.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 / 8u * 7u + 3u) / 4u);
}
// Run `run` of the row that begins at `origin`.
fn NAME_run(origin: u32, run: u32) -> NAME_Run {
    let blocks = params.cols4 / 8u;
    let bits = NAME[origin + blocks + run / 2u];
    let scale = 2u * blocks + run;
    return NAME_Run(
        NAME[origin + run],
        select(bits.xy, bits.zw, (run & 1u) != 0u),
        unpack2x16float(NAME[origin + blocks + scale / 4u][scale % 4u]),
    );
}
// Columns 4 n to 4 n + 3 of a run, but for what `NAME_sum` does for all of it.
fn NAME_four(run: NAME_Run, n: u32) -> vec4<f32> {
    let word = run.numbers[n / 2u] >> (16u * (n & 1u));
    let low = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let bits = run.bits[n / 4u] >> (8u * (n & 3u));
    let high = (vec4<u32>(bits) >> vec4<u32>(0u, 2u, 4u, 6u)) & vec4<u32>(3u);
    return vec4<f32>(vec4<i32>(low | (high << vec4<u32>(4u))) - vec4<i32>(32)) * run.scale[n / 4u];
}
// What the products of a run come to: `part` is their sum, `total` that of x.
fn NAME_sum(run: NAME_Run, part: f32, total: f32) -> f32 {
    return part;
}
