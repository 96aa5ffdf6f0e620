
// What one dispatch of attention is told: `kernels::attention::AttentionParams`.
struct AttentionParams {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    scale: f32,
    sinks: u32,                // slots of the pinned prefix
    anchor_capacity: u32,      // slots of the anchor ring, which follows it
    live_capacity: u32,        // slots of the live ring, which comes last
    chunk_start: u32,          // position of chunk row 0
    chunk_anchors_before: u32, // number of the chunk's first anchor
    row_first: u32,            // the first of the rows
    q_at: u32,                 // where its query begins, in vec4s
    rows_of_text: u32,         // rows, one after the other, that are of one text
    near: u32,                 // 1 in a layer with a window of its own
    cap: f32,                  // scores are bent to stay within it; 0: they are not
    splits: u32,               // shares that the keys of a row are split into, at most, where they are
    share: u32,                // keys that a share is worth
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
