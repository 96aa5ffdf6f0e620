
// What one dispatch of rope is told: `kernels::rope::RopeParams`.
struct RopeParams {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    rope_dim: u32, // columns that turn
    to_cache: u32,
    pad0: u32,
    pad1: u32,
}
