
// Weights in rows of numbers of 6 bits: of all columns four bits, eight columns in a word; the two bits above, sixteen columns
// in a word; and for each block of 32 columns a word of two 16-bit floats, the scales of its halves.
// `NAME` is the binding: this part is linked once for each.
alias NAME_word = u32;
// Where a row begins: at whole 16 bytes.
fn NAME_row(row: u32) -> u32 {
    return row * ((params.cols4 / 8u * 7u + 3u) & ~3u);
}
// Columns 4 c to 4 c + 3 of the row that begins at `origin`.
fn NAME_at(origin: u32, c: u32) -> vec4<f32> {
    let blocks = params.cols4 / 8u;
    let low = (vec4<u32>(NAME[origin + c / 2u] >> (16u * (c & 1u))) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    let high = origin + blocks * 4u;
    let bits = vec4<u32>(NAME[high + c / 4u] >> (8u * (c & 3u))) >> vec4<u32>(0u, 2u, 4u, 6u);
    let number = low | ((bits & vec4<u32>(3u)) << vec4<u32>(4u));
    let scales = unpack2x16float(NAME[origin + blocks * 6u + c / 8u]);
    let scale = select(scales.x, scales.y, (c & 4u) != 0u);
    return vec4<f32>(vec4<i32>(number) - vec4<i32>(32)) * scale;
}
