// One token enters the ring of its text: is it an anchor, where do its K and V go, what may it read, what is the state after it.
//
// The twin of `kv::Ring::step`; a test holds their integers equal step by step. Row r is of the text that loop_state[r] names.
// token (rows), anchor_bits (2 * (vocabulary + 31) / 32): two bit sets word by word in turn, the anchor ids in the even words and
// the ids that bar the next token from being one in the odd ones, state (texts), anchor_pos (texts, anchor_cap):
// position of unpinned anchor k at k mod anchor_cap, rows (rows), loop_state (rows). One invocation a row.
struct RingParams {
    sinks: u32,
    anchor_cap: u32,
    live_cap: u32,
    in_flight: u32,
    window: u32,
    seg_rule: u32,
    isolated: u32,
    max_anchors: u32,
    max_segment: u32,
    max_distance: u32,
    limit: u32,
    at_max_segment: u32,
    layer_window: u32, // of the layers that have one of their own
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: RingParams;
@group(0) @binding(1) var<storage, read> token: array<u32>;
@group(0) @binding(2) var<storage, read> anchor_bits: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<RingState>;
@group(0) @binding(4) var<storage, read_write> anchor_pos: array<u32>;
@group(0) @binding(5) var<storage, read_write> rows: array<Row>;
@group(0) @binding(6) var<storage, read> loop_state: array<LoopState>;

// First live position of the query at `pos`: its window and its segment are suffixes, so their union is one range.
fn live_first(pos: u32, seg_start: u32) -> u32 {
    var first = pos + 1u - min(pos + 1u, params.window);
    if params.seg_rule == 1u {
        first = min(first, seg_start);
    }
    return max(first, params.sinks);
}

@compute @workgroup_size(1)
fn kv_step(@builtin(workgroup_id) group: vec3<u32>) {
    let r = group.x;
    let text = loop_state[r].text;
    let id = token[r];
    var s = state[text];
    let i = s.pos;
    var row: Row;
    row.base = text * (params.sinks + params.anchor_cap + params.live_cap);
    row.anchor_slot = NO_SLOT;
    // A step after the stop changes nothing that lasts: the ring stays, and the row's K and V go nowhere. It reads one key, whichever.
    if loop_state[r].stopped != RUNNING || i >= params.limit {
        row.live_slot = NO_SLOT;
        row.n_keys = 1u;
        rows[r] = row;
        return;
    }

    // Tags, before anything is written.
    let word = 2u * (id / 32u);
    var listed = 0u;
    var bars = 0u;
    if word + 1u < arrayLength(&anchor_bits) {
        listed = (anchor_bits[word] >> (id % 32u)) & 1u;
        bars = (anchor_bits[word + 1u] >> (id % 32u)) & 1u;
    }
    let member = listed == 1u && s.barred == 0u;
    let bound = params.seg_rule == 1u && i - s.seg_start + 1u == params.max_segment;
    let forced = bound && (!member || params.at_max_segment == AT_MAX_INSERT);
    let is_anchor = member || bound;

    // Slots.
    row.live_slot = i;
    if i >= params.sinks {
        row.live_slot = params.sinks + params.anchor_cap + i % params.live_cap;
    }
    let anchors = text * params.anchor_cap; // where the positions of its anchors begin
    if is_anchor && i >= params.sinks {
        if params.anchor_cap > 0u {
            anchor_pos[anchors + s.n_anchors % params.anchor_cap] = i;
            row.anchor_slot = params.sinks + s.n_anchors % params.anchor_cap;
        }
        s.n_anchors += 1u;
    }

    // Extents of this query; an anchor counts itself among the newest A.
    s.anchor_first = max(s.anchor_first, s.n_anchors - min(s.n_anchors, params.max_anchors));
    s.anchor_end = max(s.anchor_first, s.anchor_end);
    row.pos = i;
    row.is_anchor = u32(is_anchor);
    row.forced = u32(forced);
    row.seg_start = s.seg_start;
    row.pinned_end = min(i + 1u, params.sinks);
    row.pinned_query_pos = min(i, params.max_distance - 1u);
    row.anchor_first = s.anchor_first;
    row.anchor_end = s.anchor_end;
    if is_anchor && params.isolated == 1u {
        row.anchor_end = s.anchor_first;
    }
    s.near_anchor = max(s.near_anchor, s.anchor_first);
    row.near_first = i + 1u - min(i + 1u, params.layer_window);
    row.near_anchor = min(s.near_anchor, row.anchor_end);
    row.live_first = live_first(i, s.seg_start);
    row.n_keys = row.pinned_end + (row.anchor_end - row.anchor_first) + (max(i + 1u, row.live_first) - row.live_first);
    rows[r] = row;

    // The state before the next token; both ranges only ever move forward.
    s.pos = i + 1u;
    s.barred = bars;
    if is_anchor {
        s.seg_start = s.pos;
        s.total_anchors += 1u;
        s.forced_anchors += u32(forced);
        s.segments += params.seg_rule;
    }
    let next = min(s.pos, params.limit - 1u); // at the limit, where there is no next query, the last one
    let first = live_first(next, s.seg_start);
    let near_first = next + 1u - min(next + 1u, params.layer_window);
    if params.anchor_cap > 0u {
        while s.anchor_first < s.n_anchors
            && next - anchor_pos[anchors + s.anchor_first % params.anchor_cap] >= params.max_distance {
            s.anchor_first += 1u;
        }
        s.anchor_end = max(s.anchor_first, s.anchor_end);
        while s.anchor_end < s.n_anchors && anchor_pos[anchors + s.anchor_end % params.anchor_cap] < first {
            s.anchor_end += 1u;
        }
        s.near_anchor = max(s.near_anchor, s.anchor_first);
        while s.near_anchor < s.n_anchors && anchor_pos[anchors + s.near_anchor % params.anchor_cap] < near_first {
            s.near_anchor += 1u;
        }
    }
    s.live = min(s.pos, params.sinks) + (s.anchor_end - s.anchor_first) + (max(s.pos, first) - first);
    s.peak_live = max(s.peak_live, s.live);
    state[text] = s;
}
