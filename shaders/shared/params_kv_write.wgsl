
// What one dispatch of kv_write is told: `kernels::kv_write::KvWriteParams`.
struct KvWriteParams {
    rows: u32,
    fours: u32, // of an entry: its columns four at a time, and the scales of its heads where they have some
    pad0: u32,
    pad1: u32,
}
