
// What one query row may read and where it is written: `kv::Row`, the same fields in the same order.
struct Row {
    pos: u32,              // position in the text
    pinned_end: u32,       // pinned keys are positions 0 .. pinned_end
    anchor_first: u32,     // ring anchors read: numbers anchor_first .. anchor_end
    anchor_end: u32,
    live_first: u32,       // live keys are positions live_first ..= pos
    n_keys: u32,           // keys in all three
    live_slot: u32,        // where this row's K and V go, NO_SLOT for a row that nobody reads later
    anchor_slot: u32,      // second home of an anchor, NO_SLOT for other tokens
    pinned_query_pos: u32, // position the query is rotated at when it reads pinned keys
    is_anchor: u32,
    forced: u32,           // an anchor only because the segment reached its bound
    seg_start: u32,        // position of the first token of the segment
    base: u32,             // the first slot of its text in the pool; all slots count from there
    near_first: u32,       // a layer with a window of its own reads positions from here on,
    near_anchor: u32,      // and anchor numbers from here on
}
const NO_SLOT: u32 = 0xffffffffu;

// A slot of the text that `row` belongs to, among all slots of the pool.
fn slot_in_pool(row: Row, slot: u32) -> u32 {
    return select(row.base + slot, NO_SLOT, slot == NO_SLOT);
}
