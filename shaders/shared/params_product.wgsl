
// What one dispatch of a product is told: `kernels::product::ProductParams`.
struct ProductParams {
    rows: u32,
    cols4: u32,      // cols / 4
    inputs: u32,     // m
    out_stride: u32, // elements between two rows of the output
    out_offset: u32, // first output element
    x_at: u32,       // where x begins, in vec4s
    eps: f32,        // of the normalization of x, where it is normalized
    pad0: u32,
}
