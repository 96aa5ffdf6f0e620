
// Weights in rows of pairs of 16-bit floats, four columns at a time. Needs no `f16` feature; arithmetic is 32-bit.
// `NAME` is the binding: this part is linked once for each.
alias NAME_word = vec2<u32>;
// Where a row begins: at whole 16 bytes.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 + 1u) & ~1u);
}
// Columns 4 c to 4 c + 3 of the row that begins at `origin`.
fn NAME_at(origin: u32, c: u32) -> vec4<f32> {
    let packed = NAME[origin + c];
    return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}
