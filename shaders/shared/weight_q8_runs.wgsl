
// Weights in rows of signed bytes (see weight_q8), a block at a time. `NAME` is the binding: this part is linked once for each.
struct NAME_Run {
    low: vec4<u32>, // four columns in a word
    high: vec4<u32>,
    scale: f32,
}
// Where a row begins.
fn NAME_row(row: u32) -> u32 {
    let blocks = params.cols4 / 8u;
    return row * (2u * blocks + (blocks + 7u) / 8u);
}
// Run `run` of the row that begins at `origin`.
fn NAME_run(origin: u32, run: u32) -> NAME_Run {
    let blocks = params.cols4 / 8u;
    let scales = unpack2x16float(NAME[origin + 2u * blocks + run / 8u][run / 2u % 4u]);
    return NAME_Run(
        NAME[origin + 2u * run],
        NAME[origin + 2u * run + 1u],
        select(scales.x, scales.y, (run & 1u) != 0u),
    );
}
// Columns 4 n to 4 n + 3 of a run, but for what `NAME_sum` does for all of it.
fn NAME_four(run: NAME_Run, n: u32) -> vec4<f32> {
    let words = select(run.low, run.high, n >= 4u);
    return vec4<f32>(unpack4xI8(words[n % 4u]));
}
// What the products of a run come to: `part` is their sum, `total` that of x.
fn NAME_sum(run: NAME_Run, part: f32, total: f32) -> f32 {
    return run.scale * part;
}
