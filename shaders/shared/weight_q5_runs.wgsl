
// Weights in rows of numbers of 5 bits (see weight_q5), a block at a time. `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    numbers: vec4<u32>, // four bits of each, eight columns in a word
    bits: u32,          // the fifth bits
    scale: vec2<f32>,   // and minimum
}
// Where a row begins.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 / 8u * 6u + 3u) / 4u);
}
// Run `run` of the row that begins at `origin`.
fn NAME_run(origin: u32, run: u32) -> NAME_Run {
    let blocks = params.cols4 / 8u;
    let scale = blocks + run;
    return NAME_Run(
        NAME[origin + run],
        NAME[origin + blocks + run / 4u][run % 4u],
        unpack2x16float(NAME[origin + blocks + scale / 4u][scale % 4u]),
    );
}
// Columns 4 n to 4 n + 3 of a run, but for what `NAME_sum` does for all of it.
fn NAME_four(run: NAME_Run, n: u32) -> vec4<f32> {
    let word = run.numbers[n / 2u] >> (16u * (n & 1u));
    let low = (vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let high = (vec4<u32>(run.bits >> (4u * n)) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u);
    return vec4<f32>(vec4<i32>(low | (high << vec4<u32>(4u))));
}
// What the products of a run come to: `part` is their sum, `total` that of x.
fn NAME_sum(run: NAME_Run, part: f32, total: f32) -> f32 {
    return run.scale.x * part + run.scale.y * total;
}
