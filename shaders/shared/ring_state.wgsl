
// Everything the ring knows between two tokens: `kv::RingState`, the same fields in the same order.
struct RingState {
    pos: u32, // position of the next token, which is the number of tokens so far
    seg_start: u32,
    n_anchors: u32,
    anchor_first: u32,
    anchor_end: u32,
    total_anchors: u32,
    forced_anchors: u32,
    segments: u32,
    live: u32,
    peak_live: u32,
    pad0: u32,
    pad1: u32,
}
