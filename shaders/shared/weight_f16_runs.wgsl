
// Weights in rows of pairs of 16-bit floats (see weight_f16), eight columns at a time. The last run of a row may be half filled: with zeros.
// `NAME` is the binding: this part is linked once for each.
alias NAME_Run = vec4<u32>;
// Where a row begins.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 + 1u) / 2u);
}
// Run `run` of the row that begins at `origin`.
fn NAME_run(origin: u32, run: u32) -> NAME_Run {
    return NAME[origin + run];
}
// Columns 4 n to 4 n + 3 of a run, but for what `NAME_sum` does for all of it.
fn NAME_four(run: NAME_Run, n: u32) -> vec4<f32> {
    let pair = select(run.xy, run.zw, n == 1u);
    return vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y));
}
// What the products of a run come to: `part` is their sum, `total` that of x.
fn NAME_sum(run: NAME_Run, part: f32, total: f32) -> f32 {
    return part;
}
