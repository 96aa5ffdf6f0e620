
// What a step of the ring changes: `kv::RingState`, the same fields in the same order.
struct RingState {
    pos: u32, // position of the next token, so also the tokens consumed
    seg_start: u32,
    n_anchors: u32,
    anchor_first: u32,
    anchor_end: u32,
    total_anchors: u32,
    forced_anchors: u32,
    segments: u32,
    live: u32,
    peak_live: u32,
    barred: u32, // 1: the next token is no anchor by its id
    near_anchor: u32,
}
// What happens where a segment grows too long: `kv::AtMaxSegment`.
const AT_MAX_CLOSE: u32 = 0u;
const AT_MAX_ERROR: u32 = 1u;
const AT_MAX_INSERT: u32 = 2u;
