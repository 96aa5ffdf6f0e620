
// Weights in rows of signed bytes, four columns in a word; behind them the row's scales, two blocks of 32 columns in a word.
// `NAME` is the binding: this part is linked once for each.
alias NAME_word = u32;
// Where a row begins: at whole 16 bytes.
fn NAME_row(row: u32) -> u32 {
    return row * (params.cols4 + ((params.cols4 / 8u + 1u) / 2u + 3u) / 4u * 4u);
}
// Columns 4 c to 4 c + 3 of the row that begins at `origin`.
fn NAME_at(origin: u32, c: u32) -> vec4<f32> {
    let scales = unpack2x16float(NAME[origin + params.cols4 + c / 16u]);
    let scale = select(scales.x, scales.y, (c & 8u) != 0u);
    return vec4<f32>(unpack4xI8(NAME[origin + c])) * scale;
}
