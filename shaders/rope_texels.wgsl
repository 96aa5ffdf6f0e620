// Rotates queries and keys by their position and puts keys and values where attention will read them: textures.
//
// The formula is that of rope.wgsl; keys and values go into textures of four columns a texel, so one invocation makes the four columns
// of a texel: of each it reads the column that it is paired with.
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), rope_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim).
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var k: texture_storage_2d<rgba32float, write>;
@group(0) @binding(6) var v: texture_storage_2d<rgba32float, write>;

// Column `c` of the head that begins at `origin`, turned by the position.
fn turned(origin: u32, c: u32, pos: u32) -> f32 {
    let x = qkv[origin + c];
    let turning = params.rope_dim / 2u;
    if c >= params.rope_dim {
        return x;
    }
    if c < turning {
        let turn = rotation(pos, c);
        return x * turn.x - qkv[origin + c + turning] * turn.y;
    }
    let turn = rotation(pos, c - turning);
    return qkv[origin + c - turning] * turn.y + x * turn.x;
}

fn turned4(origin: u32, c: u32, pos: u32) -> vec4<f32> {
    return vec4<f32>(
        turned(origin, c, pos),
        turned(origin, c + 1u, pos),
        turned(origin, c + 2u, pos),
        turned(origin, c + 3u, pos),
    );
}

@compute @workgroup_size(WORKGROUP)
fn rope_texels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let dim4 = params.head_dim / 4u;
    let heads = params.n_heads + 2u * params.n_kv_heads;
    let i = group_index(group, groups) * WORKGROUP + lane;
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
        if home != NO_SLOT { textureStore(k, place(home, at), entry); }
        if second != NO_SLOT { textureStore(k, place(second, at), entry); }
    } else {
        let at = (head - params.n_heads - params.n_kv_heads) * dim4 + d;
        let first = origin + 4u * d;
        let entry = vec4<f32>(qkv[first], qkv[first + 1u], qkv[first + 2u], qkv[first + 3u]);
        if home != NO_SLOT { textureStore(v, place(home, at), entry); }
        if second != NO_SLOT { textureStore(v, place(second, at), entry); }
    }
}

// Where texel `at` of the entry in `slot` lies; keys and values have the same shape.
fn place(slot: u32, at: u32) -> vec2<u32> {
    return fold(slot * params.n_kv_heads * params.head_dim / 4u + at, shift_of(textureDimensions(k)));
}
