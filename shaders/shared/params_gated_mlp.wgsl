
// What one dispatch of gated_mlp is told: `kernels::gated_mlp::GatedMlpParams`.
struct GatedMlpParams {
    rows: u32,
    cols4: u32, // cols / 4
    out_offset: u32,
    eps: f32, // of the normalization of x, where it is normalized
    activation: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
