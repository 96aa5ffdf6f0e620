// scores[id] = scores[id] * (1 / repetition where positive, else repetition) - frequency * count - presence
//
// for every id among the last_n tokens of the text, where it occurs count times. Anchors and banned tokens are left alone.
// state (1), recent (capacity): the token at position p at p mod capacity, anchor_bits (2 * (vocabulary + 31) / 32): the anchor
// ids as a bit set in the even words, scores (vocab). One lane per token of the window; the first that has an id acts for all.
struct PenalizeParams {
    vocab: u32,
    capacity: u32,
    last_n: u32,
    repetition: f32,
    inverse_repetition: f32, // made by the host, so that it is rounded in one way everywhere
    frequency: f32,
    presence: f32,
    pad0: u32,
}
@group(0) @binding(0) var<uniform> params: PenalizeParams;
@group(0) @binding(1) var<storage, read> state: array<RingState>;
@group(0) @binding(2) var<storage, read> recent: array<u32>;
@group(0) @binding(3) var<storage, read> anchor_bits: array<u32>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn penalize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let end = state[0].pos;
    let first = end - min(end, params.last_n);
    let mine = first + group_index(group, groups) * WORKGROUP + lane;
    if mine >= end {
        return;
    }
    let id = recent[mine % params.capacity];
    let word = 2u * (id / 32u);
    let is_anchor = word < arrayLength(&anchor_bits) && ((anchor_bits[word] >> (id % 32u)) & 1u) == 1u;
    if id >= params.vocab || is_anchor || scores[id] == BANNED {
        return;
    }
    var count = 0.0;
    for (var pos = first; pos < end; pos++) {
        if recent[pos % params.capacity] == id {
            if pos < mine {
                return; // that one's lane acts
            }
            count += 1.0;
        }
    }
    let score = scores[id];
    let scaled = score * select(params.repetition, params.inverse_repetition, score > 0.0);
    scores[id] = scaled - (params.frequency * count + params.presence);
}
