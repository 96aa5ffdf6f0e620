
// Weights in rows of numbers of 4 bits (see weight_q4), a block at a time. `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    numbers: vec4<u32>, // eight columns in a word
    scale: vec2<f32>,   // and minimum
}
// Where a row begins.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 / 8u * 5u + 3u) / 4u);
}
// Run `run` of the row that begins at `origin`.
fn NAME_run(origin: u32, run: u32) -> NAME_Run {
    let blocks = params.cols4 / 8u;
    return NAME_Run(NAME[origin + run], unpack2x16float(NAME[origin + blocks + run / 4u][run % 4u]));
}
// Columns 4 n to 4 n + 3 of a run, but for what `NAME_sum` does for all of it.
fn NAME_four(run: NAME_Run, n: u32) -> vec4<f32> {
    let word = run.numbers[n / 2u] >> (16u * (n & 1u));
    return vec4<f32>(vec4<i32>((vec4<u32>(word) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u)));
}
// What the products of a run come to: `part` is their sum, `total` that of x.
fn NAME_sum(run: NAME_Run, part: f32, total: f32) -> f32 {
    return run.scale.x * part + run.scale.y * total;
}
