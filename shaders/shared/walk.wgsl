
// A query's walk over keys that its row sees, for kernels whose keys and values lie in storage buffers. What they bind alike stands here.
@group(0) @binding(0) var<uniform> params: AttentionParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k_cache: array<KvFour>;
@group(0) @binding(4) var<storage, read> v_cache: array<KvWord>;
@group(0) @binding(5) var<storage, read> k_chunk: array<KvFour>;
@group(0) @binding(6) var<storage, read> v_chunk: array<KvWord>;
@group(0) @binding(7) var<storage, read> chunk_anchors: array<u32>;

struct Query {
    row: Row,     // with the ranges of this layer
    first: u32,   // it sees the keys first .. end of its row
    end: u32,
    at: u32,      // where its first rotation begins, in vec4s
    kv_head: u32,
}

// The query of a head in row number `r` of the dispatch.
fn query_of(r: u32, head: u32) -> Query {
    var row = rows[params.row_first + r];
    var first = 0u;
    var end = row.n_keys;
    if params.near != 0u {
        first = min(row.near_first, row.pinned_end);
        row.anchor_first = row.near_anchor;
        row.live_first = max(row.live_first, row.near_first);
        end = row.pinned_end + (row.anchor_end - row.anchor_first) + (max(row.pos + 1u, row.live_first) - row.live_first);
    }
    let at = params.q_at + (r * 2u * params.n_heads + head) * (params.head_dim / 4u);
    return Query(row, first, end, at, head / (params.n_heads / params.n_kv_heads));
}

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

// Over the keys first .. end. Must be called by the whole workgroup, with the same keys in every lane.
fn walk(query: Query, first: u32, end: u32, lane: u32) -> Softmax {
    let dim4 = params.head_dim / 4u;
    let pinned = query.row.pinned_end;
    let anchors = query.row.anchor_end - query.row.anchor_first;
    var state = Softmax(LOWEST, 0.0, vec4<f32>());
    for (var base = first; base < end; base += WORKGROUP) {
        let key = base + lane;
        var place = NO_PLACE;
        var score = LOWEST;
        if key < end {
            let slot = locate(query.row, pinned, anchors, key);
            place = ((slot & ~IN_CHUNK) * params.n_kv_heads + query.kv_head) | (slot & IN_CHUNK);
            // Keys of the pinned prefix are read by the query's second rotation.
            let at_query = query.at + select(0u, params.n_heads * dim4, key < pinned);
            let at = (place & ~IN_CHUNK) * (dim4 + SCALE_FOURS);
            var sum = 0.0;
            if (place & IN_CHUNK) != 0u {
                for (var d = 0u; d < dim4; d++) {
                    sum += dot(q[at_query + d], decoded(k_chunk[at + d]));
                }
                if SCALED { sum *= scale_of(k_chunk[at + dim4]); }
            } else {
                for (var d = 0u; d < dim4; d++) {
                    sum += dot(q[at_query + d], decoded(k_cache[at + d]));
                }
                if SCALED { sum *= scale_of(k_cache[at + dim4]); }
            }
            score = capped(vec4<f32>(sum * params.scale), params.cap).x;
        }
        state = add_tile(state, lane, place, score, params.head_dim);
    }
    return state;
}
