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
// out (rows, n_heads, head_dim). One workgroup per row and head, which walks all its keys: shared/walk.wgsl.
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

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
    let r = i / params.n_heads;
    let head = i % params.n_heads;
    let query = query_of(r, head);
    let state = walk(query, query.first, query.end, lane);

    let to = ((params.row_first + r) * params.n_heads + head) * params.head_dim;
    for (var c = 0u; c * WORKGROUP < params.head_dim; c++) {
        let column = c * WORKGROUP + lane;
        if column < params.head_dim {
            out[to + column] = state.values[c] / state.total;
        }
    }
}
