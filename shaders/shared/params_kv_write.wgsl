
// What one dispatch of kv_write is told: `kernels::kv_write::KvWriteParams`.
struct KvWriteParams {
    rows: u32,
    kv_dim4: u32, // n_kv_heads * head_dim / 4
    pad0: u32,
    pad1: u32,
}
