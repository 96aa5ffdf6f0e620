// The visibility rule by brute force: every query row tests every earlier token. No cache, no slots, O(n^2).
//
//   visible(i, j) = j <= i and ( j == i
//                   or (seg_rule and segment(j) == segment(i))
//                   or i - j < window
//                   or j < sinks
//                   or (anchor(j) and not (isolated and anchor(i))
//                       and fewer than max_anchors anchors lie in (j, i] and i - j < max_distance) )
//                   and i - j < layer_window
//
// This is the definition that `--path masked` runs and that the ring is compared with.
//
// tags (n), q (n, 2, n_heads, head_dim), k and v (n, n_kv_heads, head_dim), out (n, n_heads, head_dim).
// One workgroup per row and head.
struct MaskedAttentionParams {
    n: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    scale: f32,
    seg_rule: u32,
    window: u32,
    sinks: u32,
    isolated: u32,
    max_anchors: u32,
    max_distance: u32,
    layer_window: u32, // of a layer that has one of its own; else it is beyond every distance
    cap: f32,          // scores are bent to stay within it; 0: they are not
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
struct Tag {
    is_anchor: u32,
    forced: u32,
    seg_start: u32,
    anchors_upto: u32, // anchors at or before this token
}
@group(0) @binding(0) var<uniform> params: MaskedAttentionParams;
@group(0) @binding(1) var<storage, read> tags: array<Tag>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn value_at(place: u32, column: u32) -> f32 {
    return v[place * params.head_dim + column];
}

fn visible(i: u32, j: u32) -> bool {
    if j > i {
        return false;
    }
    let query = tags[i];
    let key = tags[j];
    let same_segment = params.seg_rule != 0u && key.seg_start == query.seg_start;
    let recent = i - j < params.window;
    let pinned = j < params.sinks;
    let remembered = key.is_anchor != 0u
        && !(params.isolated != 0u && query.is_anchor != 0u)
        && query.anchors_upto - key.anchors_upto < params.max_anchors
        && i - j < params.max_distance;
    return i - j < params.layer_window && (j == i || same_segment || recent || pinned || remembered);
}

@compute @workgroup_size(WORKGROUP)
fn masked_attention(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group_index(group, groups);
    if index >= params.n * params.n_heads {
        return;
    }
    let i = index / params.n_heads;
    let head = index % params.n_heads;
    let kv_head = head / (params.n_heads / params.n_kv_heads);
    let dim4 = params.head_dim / 4u;

    var state = Softmax(LOWEST, 0.0, vec4<f32>());
    for (var base = 0u; base <= i; base += WORKGROUP) {
        let j = base + lane;
        var place = NO_PLACE;
        var score = LOWEST;
        if visible(i, j) {
            place = j * params.n_kv_heads + kv_head;
            // The pinned prefix is read by the query's second rotation.
            let query = ((i * 2u + select(0u, 1u, j < params.sinks)) * params.n_heads + head) * dim4;
            var sum = 0.0;
            for (var d = 0u; d < dim4; d++) {
                sum += dot(q[query + d], k[place * dim4 + d]);
            }
            score = capped(vec4<f32>(sum * params.scale), params.cap).x;
        }
        state = add_tile(state, lane, place, score, params.head_dim);
    }

    let to = index * params.head_dim;
    for (var c = 0u; c * WORKGROUP < params.head_dim; c++) {
        let column = c * WORKGROUP + lane;
        if column < params.head_dim {
            out[to + column] = state.values[c] / state.total;
        }
    }
}
