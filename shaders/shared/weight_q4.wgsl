
// Weights in rows of numbers of 4 bits, eight columns in a word; behind them, for each block of 32 columns, a word of two 16-bit
// floats, its scale and its minimum.
// `NAME` is the binding: this part is linked once for each.
alias NAME_word = u32;
// Where a row begins: at whole 16 bytes.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 / 8u * 5u + 3u) & ~3u);
}
// Columns 4 c to 4 c + 3 of the row that begins at `origin`.
fn NAME_at(origin: u32, c: u32) -> vec4<f32> {
    let blocks = params.cols4 / 8u;
    let low = (vec4<u32>(NAME[origin + c / 2u] >> (16u * (c & 1u))) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let number = low;
    let scales = unpack2x16float(NAME[origin + blocks * 4u + c / 8u]);
    return vec4<f32>(vec4<i32>(number)) * scales.x + scales.y;
}
