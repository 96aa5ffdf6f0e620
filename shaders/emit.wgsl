// Hands out the token that was drawn: notes it, tests whether the text ends with it, makes it the input of the next step.
//
// A token that would be the last a segment may have (M) and is no anchor is replaced by the inserted anchor, or ends the text, as
// the policy says. Once the text has ended nothing is handed out any more, however many steps are still under way.
// Row r is of the text that loop_state[r] names. drawn (rows), stop_bits (rows, (vocabulary + 31) / 32): the ids that end its text as a
// bit set, anchor_bits (2 * (vocabulary + 31) / 32): the anchor ids in the even words, ring (texts), loop_state (rows), token (rows),
// outbox (rows, outbox_cap): token number n at n mod outbox_cap, recent (texts, recent_cap): the token at position p at p mod
// recent_cap. One invocation a row.
struct EmitParams {
    vocab: u32,
    outbox_cap: u32,
    recent_cap: u32,
    limit: u32, // positions that the ring can hold
    at_max_segment: u32,
    max_segment: u32,
    insert: u32, // the anchor put in at the bound
    pad0: u32,
}
@group(0) @binding(0) var<uniform> params: EmitParams;
@group(0) @binding(1) var<storage, read> drawn: array<u32>;
@group(0) @binding(2) var<storage, read> stop_bits: array<u32>;
@group(0) @binding(3) var<storage, read> anchor_bits: array<u32>;
@group(0) @binding(4) var<storage, read> ring: array<RingState>;
@group(0) @binding(5) var<storage, read_write> loop_state: array<LoopState>;
@group(0) @binding(6) var<storage, read_write> token: array<u32>;
@group(0) @binding(7) var<storage, read_write> outbox: array<u32>;
@group(0) @binding(8) var<storage, read_write> recent: array<u32>;

const STOP_TOKEN: u32 = 1u;
const STOP_BUDGET: u32 = 2u;
const STOP_LIMIT: u32 = 3u;
const STOP_NOT_FINITE: u32 = 4u;
const STOP_SEGMENT: u32 = 5u;

@compute @workgroup_size(1)
fn emit(@builtin(workgroup_id) group: vec3<u32>) {
    let r = group.x;
    var state = loop_state[r];
    if state.stopped != RUNNING {
        return;
    }
    var id = drawn[r];
    if id >= params.vocab {
        loop_state[r].stopped = STOP_NOT_FINITE; // the sampler found no number to compare
        return;
    }
    let text = state.text;
    let pos = ring[text].pos;
    let stops = r * ((params.vocab + 31u) / 32u); // where the ids that end this text begin
    var ends = ((stop_bits[stops + id / 32u] >> (id % 32u)) & 1u) == 1u;
    let listed = ((anchor_bits[2u * (id / 32u)] >> (id % 32u)) & 1u) == 1u;
    let closes = listed && ring[text].barred == 0u;
    let overflows = !closes && !ends && pos - ring[text].seg_start + 1u == params.max_segment;
    if overflows && params.at_max_segment == AT_MAX_INSERT {
        id = params.insert;
        ends = ((stop_bits[stops + id / 32u] >> (id % 32u)) & 1u) == 1u;
    }
    token[r] = id;
    outbox[r * params.outbox_cap + state.emitted % params.outbox_cap] = id;
    recent[text * params.recent_cap + pos % params.recent_cap] = id;
    state.emitted += 1u;
    if ends {
        state.stopped = STOP_TOKEN;
    } else if state.emitted == state.budget {
        state.stopped = STOP_BUDGET;
    } else if pos >= params.limit {
        state.stopped = STOP_LIMIT;
    } else if overflows && params.at_max_segment == AT_MAX_ERROR {
        state.stopped = STOP_SEGMENT;
    }
    loop_state[r] = state;
}
