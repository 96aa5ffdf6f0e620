// scores[r, id] = scores[r, id] * (1 / repetition where positive, else repetition) - frequency * count - presence
//
// for every id among the last_n tokens of the text, where it occurs count times. Exempt and banned tokens are left alone.
// Row r is of the text that loop_state[r] names, with penalties of its own: settings[r]. state (texts), recent (texts, capacity): the
// token at position p at p mod capacity, exempt_bits (rows, (vocab + 31) / 32): the ids that no penalty of the row touches as a bit set,
// loop_state (rows), settings (rows), scores (rows, vocab). One lane per token of a window; the first that has an id acts for all.
struct PenalizeParams {
    rows: u32,
    vocab: u32,
    capacity: u32,
    groups_of_row: u32, // workgroups that share a window
}
@group(0) @binding(0) var<uniform> params: PenalizeParams;
@group(0) @binding(1) var<storage, read> state: array<RingState>;
@group(0) @binding(2) var<storage, read> recent: array<u32>;
@group(0) @binding(3) var<storage, read> exempt_bits: array<u32>;
@group(0) @binding(4) var<storage, read> loop_state: array<LoopState>;
@group(0) @binding(5) var<storage, read> settings: array<RowSettings>;
@group(0) @binding(6) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn penalize(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group_index(group, groups);
    let r = index / params.groups_of_row;
    if r >= params.rows {
        return;
    }
    let text = loop_state[r].text;
    let end = state[text].pos;
    let first = end - min(end, settings[r].last_n);
    let mine = first + index % params.groups_of_row * WORKGROUP + lane;
    if mine >= end {
        return;
    }
    let window = text * params.capacity; // where the tokens of the text begin
    let id = recent[window + mine % params.capacity];
    if id >= params.vocab {
        return;
    }
    let bits = exempt_bits[r * ((params.vocab + 31u) / 32u) + id / 32u];
    let at = r * params.vocab + id;
    if ((bits >> (id % 32u)) & 1u) == 1u || scores[at] == BANNED {
        return;
    }
    var count = 0.0;
    for (var pos = first; pos < end; pos++) {
        if recent[window + pos % params.capacity] == id {
            if pos < mine {
                return; // that one's lane acts
            }
            count += 1.0;
        }
    }
    let score = scores[at];
    let scaled = score * select(settings[r].repetition, settings[r].inverse_repetition, score > 0.0);
    scores[at] = scaled - (settings[r].frequency * count + settings[r].presence);
}
