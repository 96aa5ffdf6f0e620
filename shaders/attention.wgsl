// One query row against everything it may see: the pinned prefix, the anchor ring and the live range.
//
//   out[r, h, :] = sum_j softmax_j(capped(q[r, h, :] . k[j, :] * scale)) v[j, :]
//
// There is no mask: `kv::Ring` (or the kernel kv_step) has turned visibility into three ranges per row, each key is in
// exactly one of them, and an entry is found by its number modulo the capacity of its region. Positions are baked into
// the keys, so the order of the walk does not matter. The cost of a row is the number of keys it sees.
// A layer with a window of its own leaves out the beginning of each range.
//
// A prompt chunk's own keys lie in scratch: positions from chunk_start on are chunk rows, anchor numbers from
// chunk_anchors_before on are entries of `chunk_anchors`. While decoding both are NOT_A_CHUNK and all is in the cache.
//
// rows (rows), q (rows, 2, n_heads, head_dim), k_cache and v_cache (slots, n_kv_heads, head_dim),
// k_chunk and v_chunk (rows, n_kv_heads, head_dim), chunk_anchors (anchors in the chunk): their chunk rows,
// out (rows, n_heads, head_dim). One workgroup per row and head.
@group(0) @binding(0) var<uniform> params: AttentionParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<KvFour>;
@group(0) @binding(4) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(5) var<storage, read> k_chunk: array<KvFour>;
@group(0) @binding(6) var<storage, read> v_chunk: array<KvWord>;
@group(0) @binding(7) var<storage, read> chunk_anchors: array<u32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

fn value_at(place: u32, column: u32) -> f32 {
    let first = (place & ~IN_CHUNK) * (params.head_dim + 4u * SCALE_FOURS);
    let i = first + column;
    let scale_at = (first + params.head_dim) / COLUMNS_OF_WORD; // where there is one
    if (place & IN_CHUNK) != 0u {
        let value = column_of(v_chunk[i / COLUMNS_OF_WORD], i);
        if SCALED { return value * scale_of_word(v_chunk[scale_at]); }
        return value;
    }
    let value = column_of(v_cache[i / COLUMNS_OF_WORD], i);
    if SCALED { return value * scale_of_word(v_cache[scale_at]); }
    return value;
}

@compute @workgroup_size(WORKGROUP)
fn attention(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups);
    if i >= params.rows * params.n_heads {
        return;
    }
    let r = params.row_first + i / params.n_heads;
    let head = i % params.n_heads;
    let kv_head = head / (params.n_heads / params.n_kv_heads);
    let dim4 = params.head_dim / 4u;
    var row = rows[r];
    let pinned = row.pinned_end;
    var first = 0u; // key
    var keys = row.n_keys;
    if params.near != 0u {
        first = min(row.near_first, pinned);
        row.anchor_first = row.near_anchor;
        row.live_first = max(row.live_first, row.near_first);
        keys = pinned + (row.anchor_end - row.anchor_first) + (max(row.pos + 1u, row.live_first) - row.live_first);
    }
    let anchors = row.anchor_end - row.anchor_first;

    var state = Softmax(LOWEST, 0.0, vec4<f32>());
    for (var base = first; base < keys; base += WORKGROUP) {
        let key = base + lane;
        var place = NO_PLACE;
        var score = LOWEST;
        if key < keys {
            let slot = locate(row, pinned, anchors, key);
            place = ((slot & ~IN_CHUNK) * params.n_kv_heads + kv_head) | (slot & IN_CHUNK);
            // Keys of the pinned prefix are read by the query's second rotation.
            let query = params.q_at + ((i / params.n_heads * 2u + select(0u, 1u, key < pinned)) * params.n_heads + head) * dim4;
            let at = (place & ~IN_CHUNK) * (dim4 + SCALE_FOURS);
            var sum = 0.0;
            if (place & IN_CHUNK) != 0u {
                for (var d = 0u; d < dim4; d++) {
                    sum += dot(q[query + d], decoded(k_chunk[at + d]));
                }
                if SCALED { sum *= scale_of(k_chunk[at + dim4]); }
            } else {
                for (var d = 0u; d < dim4; d++) {
                    sum += dot(q[query + d], decoded(k_cache[at + d]));
                }
                if SCALED { sum *= scale_of(k_cache[at + dim4]); }
            }
            score = capped(vec4<f32>(sum * params.scale), params.cap).x;
        }
        state = add_tile(state, lane, place, score, params.head_dim);
    }

    let to = (r * params.n_heads + head) * params.head_dim;
    for (var c = 0u; c * WORKGROUP < params.head_dim; c++) {
        let column = c * WORKGROUP + lane;
        if column < params.head_dim {
            out[to + column] = state.values[c] / state.total;
        }
    }
}
