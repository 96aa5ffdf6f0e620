// Rotates queries and keys by their position and puts keys and values where attention will read them.
//
//   (a, b) -> (a cos t - b sin t, a sin t + b cos t),  t = pos * theta^(-2 d / head_dim),  a = x[d], b = x[d + head_dim/2]
//
// Su et al., "RoFormer" (2021), in the rotate-half layout of LlamaForCausalLM. cos and sin come from two tables made in
// 64-bit arithmetic: t(pos) = t(pos mod 1024) + t(pos - pos mod 1024), joined by one complex product, so a position of
// four million needs no big table and loses no precision.
//
// A query is written twice: rotated at its position, and at `pinned_query_pos`, where it reads the pinned prefix.
// Keys and values go to row r of a chunk's scratch (TO_CACHE 0), or to this token's slots in the cache (TO_CACHE 1).
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), head_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim). One invocation per pair (d, d + head_dim/2).
struct RopeParams {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    head_dim: u32,
    to_cache: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
@group(0) @binding(5) var<storage, read_write> k: array<f32>;
@group(0) @binding(6) var<storage, read_write> v: array<f32>;

const TABLE_STEP: u32 = 1024u;

fn rotation(pos: u32, d: u32) -> vec2<f32> {
    let pairs = params.head_dim / 2u;
    let fine = table[(pos % TABLE_STEP) * pairs + d];
    let coarse = table[(TABLE_STEP + pos / TABLE_STEP) * pairs + d];
    return vec2<f32>(coarse.x * fine.x - coarse.y * fine.y, coarse.y * fine.x + coarse.x * fine.y);
}

fn rotate(x: vec2<f32>, turn: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(x.x * turn.x - x.y * turn.y, x.y * turn.x + x.x * turn.y);
}

fn put_key(slot: u32, at: u32, x: vec2<f32>) {
    let i = slot * params.n_kv_heads * params.head_dim + at;
    k[i] = x.x;
    k[i + params.head_dim / 2u] = x.y;
}

fn put_value(slot: u32, at: u32, x: vec2<f32>) {
    let i = slot * params.n_kv_heads * params.head_dim + at;
    v[i] = x.x;
    v[i + params.head_dim / 2u] = x.y;
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
    let row = rows[r];
    let origin = (r * heads + head) * params.head_dim + d;
    let x = vec2<f32>(qkv[origin], qkv[origin + pairs]);

    if head < params.n_heads {
        let here = rotate(x, rotation(row.pos, d));
        let pinned = rotate(x, rotation(row.pinned_query_pos, d));
        let width = params.n_heads * params.head_dim;
        let to = r * 2u * width + head * params.head_dim + d;
        q[to] = here.x;
        q[to + pairs] = here.y;
        q[to + width] = pinned.x;
        q[to + width + pairs] = pinned.y;
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
    let at = kv_head * params.head_dim + d;
    var home = r;
    var second = NO_SLOT;
    if params.to_cache != 0u {
        home = row.live_slot;
        second = row.anchor_slot;
    }
    if is_key {
        if home != NO_SLOT { put_key(home, at, entry); }
        if second != NO_SLOT { put_key(second, at, entry); }
    } else {
        if home != NO_SLOT { put_value(home, at, entry); }
        if second != NO_SLOT { put_value(second, at, entry); }
    }
}
