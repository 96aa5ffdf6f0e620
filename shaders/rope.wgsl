// Rotates queries and keys by their position and puts keys and values where attention will read them.
//
//   (a, b) -> m (a cos t - b sin t, a sin t + b cos t),  t = pos * frequency[d],  a = x[d], b = x[d + rope_dim/2],  d < rope_dim/2
//
// Su et al., "RoFormer" (2021), in the rotate-half layout of LlamaForCausalLM; the columns from rope_dim on stay as they are, and
// rope_dim is 0 in a layer without positions. cos and sin come from two tables made in 64-bit arithmetic:
// t(pos) = t(pos mod 1024) + t(pos - pos mod 1024), joined by one complex product, so a position of four million needs no
// big table and loses no precision. The magnitude m (YaRN; else 1) is in the second table.
//
// A query is written twice: rotated at its position, and at `pinned_query_pos`, where it reads the pinned prefix.
// Keys and values go to row r of a chunk's scratch (TO_CACHE 0), or to this token's slots in the cache (TO_CACHE 1).
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), rope_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim). One invocation per pair of columns.
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
@group(0) @binding(5) var<storage, read_write> k: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;

// Two columns of a head.
struct Pair {
    first: u32,
    second: u32,
}

// The columns that turn are paired over their half, and so are those that do not.
fn pair_of(i: u32) -> Pair {
    let turning = params.rope_dim / 2u;
    if i < turning {
        return Pair(i, i + turning);
    }
    return Pair(i + turning, i + params.head_dim / 2u);
}

fn rotate(x: vec2<f32>, turn: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(x.x * turn.x - x.y * turn.y, x.y * turn.x + x.x * turn.y);
}

fn put_key(slot: u32, kv_head: u32, pair: Pair, x: vec2<f32>) {
    let origin = (slot * params.n_kv_heads + kv_head) * params.head_dim;
    k[origin + pair.first] = x.x;
    k[origin + pair.second] = x.y;
}

fn put_value(slot: u32, kv_head: u32, pair: Pair, x: vec2<f32>) {
    let origin = (slot * params.n_kv_heads + kv_head) * params.head_dim;
    v[origin + pair.first] = x.x;
    v[origin + pair.second] = x.y;
}

@compute @workgroup_size(WORKGROUP)
fn rope(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pairs = params.head_dim / 2u;
    let heads = params.n_heads + 2u * params.n_kv_heads;
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.rows * heads * pairs {
        return;
    }
    let r = i / (heads * pairs);
    let head = (i / pairs) % heads;
    let d = i % pairs;
    let pair = pair_of(d);
    let row = rows[r];
    let origin = (r * heads + head) * params.head_dim;
    let x = vec2<f32>(qkv[origin + pair.first], qkv[origin + pair.second]);

    if head < params.n_heads {
        let here = rotate(x, rotation(row.pos, d));
        let pinned = rotate(x, rotation(row.pinned_query_pos, d));
        let width = params.n_heads * params.head_dim;
        let to = r * 2u * width + head * params.head_dim;
        q[to + pair.first] = here.x;
        q[to + pair.second] = here.y;
        q[to + width + pair.first] = pinned.x;
        q[to + width + pair.second] = pinned.y;
        return;
    }

    let is_key = head < params.n_heads + params.n_kv_heads;
    var kv_head = head - params.n_heads;
    var entry = x;
    if is_key {
        entry = rotate(x, rotation(row.pos, d));
    } else {
        kv_head -= params.n_kv_heads;
    }
    var home = r;
    var second = NO_SLOT;
    if params.to_cache != 0u {
        home = slot_in_pool(row, row.live_slot);
        second = slot_in_pool(row, row.anchor_slot);
    }
    if is_key {
        if home != NO_SLOT { put_key(home, kv_head, pair, entry); }
        if second != NO_SLOT { put_key(second, kv_head, pair, entry); }
    } else {
        if home != NO_SLOT { put_value(home, kv_head, pair, entry); }
        if second != NO_SLOT { put_value(second, kv_head, pair, entry); }
    }
}
