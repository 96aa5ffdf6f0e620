
// Rotation four columns at a time, for those who put keys and values where four columns lie together: see rope.wgsl.
// The kernel says where they go: `put_key` and `put_value` of a slot, from its column 4 `at` on.
// The four columns of number `i`.
fn rotate_four(i: u32) {
    let dim4 = params.head_dim / 4u;
    let heads = params.n_heads + 2u * params.n_kv_heads;
    if i >= params.rows * heads * dim4 {
        return;
    }
    let r = i / (heads * dim4);
    let head = (i / dim4) % heads;
    let d = i % dim4;
    let row = rows[r];
    let origin = (r * heads + head) * params.head_dim;

    if head < params.n_heads {
        let width = params.n_heads * dim4;
        let to = r * 2u * width + head * dim4 + d;
        q[to] = turned4(origin, 4u * d, row.pos);
        q[to + width] = turned4(origin, 4u * d, row.pinned_query_pos);
        return;
    }

    var home = r;
    var second = NO_SLOT;
    if params.to_cache != 0u {
        home = slot_in_pool(row, row.live_slot);
        second = slot_in_pool(row, row.anchor_slot);
    }
    let is_key = head < params.n_heads + params.n_kv_heads;
    if is_key {
        let at = (head - params.n_heads) * dim4 + d;
        let entry = turned4(origin, 4u * d, row.pos);
        if home != NO_SLOT { put_key(home, at, entry); }
        if second != NO_SLOT { put_key(second, at, entry); }
    } else {
        let at = (head - params.n_heads - params.n_kv_heads) * dim4 + d;
        let first = origin + 4u * d;
        let entry = vec4<f32>(qkv[first], qkv[first + 1u], qkv[first + 2u], qkv[first + 3u]);
        if home != NO_SLOT { put_value(home, at, entry); }
        if second != NO_SLOT { put_value(second, at, entry); }
    }
}
