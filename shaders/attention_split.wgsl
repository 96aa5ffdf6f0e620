// Attention of few rows that see many keys, in the way of flash-decoding: the keys of a row are split among workgroups that know nothing
// of each other, and attention_join makes one result of theirs. attention.wgsl says what is computed, and what all bindings but the last are.
//
//   parts[r, h, s, :] = sum_j exp(score_j - top) v[j, :], then top, the largest score, and sum_j exp(score_j - top)
//
// over share s of the keys that row r sees. One that is left without a key gives 0, LOWEST and 0. The number of splits is the host's to
// choose; whatever it is, each key is in one share. Into how many of them the keys go depends on the keys alone, so that a row comes to the
// same beside longer texts, and however far the device runs ahead of the host.
//
// parts (rows, n_heads, splits, head_dim + 2). One workgroup per row, head and split. Those of heads that read the same keys are neighbours.
@group(0) @binding(8) var<storage, read_write> parts: array<f32>;

// `kernels::attention::splits`, of no more than there are.
fn shares_of(keys: u32) -> u32 {
    var shares = 1u;
    if keys >= 2u * params.share {
        let more = keys / params.share - 1u; // 1 at least
        shares = min(1u << (32u - countLeadingZeros(more)), params.splits);
    }
    return shares;
}

@compute @workgroup_size(WORKGROUP)
fn attention_split(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups);
    if i >= params.rows * params.splits * params.n_heads {
        return;
    }
    let head = i % params.n_heads;
    let split = i / params.n_heads % params.splits;
    let r = i / params.n_heads / params.splits;
    let query = query_of(r, head);
    let shares = shares_of(query.end - query.first);
    let share = (query.end - query.first + shares - 1u) / shares;
    let first = min(query.first + split * share, query.end);
    let state = walk(query, first, min(first + share, query.end), lane);

    let to = (((params.row_first + r) * params.n_heads + head) * params.splits + split) * (params.head_dim + 2u);
    for (var c = 0u; c * WORKGROUP < params.head_dim; c++) {
        let column = c * WORKGROUP + lane;
        if column < params.head_dim {
            parts[to + column] = state.values[c];
        }
    }
    if lane == 0u {
        parts[to + params.head_dim] = state.top;
        parts[to + params.head_dim + 1u] = state.total;
    }
}
