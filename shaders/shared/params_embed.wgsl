
// What one dispatch of embed is told: `kernels::embed::EmbedParams`.
struct EmbedParams {
    rows: u32,      // tokens
    cols4: u32,     // columns / 4
    part_first: u32, // first table row of this part
    part_rows: u32,
    scale: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
