// Rotates queries and keys by their position and puts keys and values where attention will read them: textures.
//
// The formula is that of rope.wgsl; keys and values go into textures of four columns a texel, so columns are taken four at a time.
// For software devices, where loads decide: all heads of a row turn by the same angles, so an invocation reads the angles of its columns
// once and makes these columns of all heads.
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), rope_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim).
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var k: texture_storage_2d<$format, write>;
@group(0) @binding(6) var v: texture_storage_2d<$format, write>;

// Where texel `at` of the entry in `slot` lies; keys and values have the same shape.
fn place(slot: u32, at: u32) -> vec2<u32> {
    return fold(slot * params.n_kv_heads * params.head_dim / 4u + at, shift_of(textureDimensions(k)));
}

// As the format has it: a device that stores into a texture may round in its own way.
fn put_key(slot: u32, at: u32, x: vec4<f32>) {
    textureStore(k, place(slot, at), decoded(encoded(x)));
}

fn put_value(slot: u32, at: u32, x: vec4<f32>) {
    textureStore(v, place(slot, at), decoded(encoded(x)));
}

// Four columns and those that they are paired with.
struct Pairs {
    low: vec4<f32>,
    high: vec4<f32>,
}
// Pairs of the entry in `slot`, if there is one, whose other columns are `pairs` fours behind.
fn put_keys(slot: u32, at: u32, pairs: u32, x: Pairs) {
    if slot != NO_SLOT {
        put_key(slot, at, x.low);
        put_key(slot, at + pairs, x.high);
    }
}

fn put_values(slot: u32, at: u32, pairs: u32, x: Pairs) {
    if slot != NO_SLOT {
        put_value(slot, at, x.low);
        put_value(slot, at + pairs, x.high);
    }
}

fn projected4(first: u32) -> vec4<f32> {
    return vec4<f32>(qkv[first], qkv[first + 1u], qkv[first + 2u], qkv[first + 3u]);
}

// Cosines and sines of four pairs.
struct Angles {
    cos: vec4<f32>,
    sin: vec4<f32>,
}
fn angles_of(pos: u32, pair: u32) -> Angles {
    let turn$s = rotation(pos, pair + $su);
    return Angles(
        vec4<f32>(turn0.x, turn1.x, turn2.x, turn3.x),
        vec4<f32>(turn0.y, turn1.y, turn2.y, turn3.y),
    );
}
fn turned_pairs(x: Pairs, by: Angles) -> Pairs {
    return Pairs(x.low * by.cos - x.high * by.sin, x.low * by.sin + x.high * by.cos);
}

// The four pairs from column 4 `low` on, of all heads of row `r`; their other columns are `pairs` fours behind.
fn turn_heads(r: u32, low: u32, pairs: u32) {
    let dim4 = params.head_dim / 4u;
    let row = rows[r];
    let angles = angles_of(row.pos, 4u * low);
    var pinned_angles = angles;
    if row.pinned_query_pos != row.pos {
        pinned_angles = angles_of(row.pinned_query_pos, 4u * low);
    }
    var home = r;
    var second = NO_SLOT;
    if params.to_cache != 0u {
        home = slot_in_pool(row, row.live_slot);
        second = slot_in_pool(row, row.anchor_slot);
    }
    let heads = params.n_heads + 2u * params.n_kv_heads;
    let keys = params.n_heads + params.n_kv_heads;
    let width = params.n_heads * dim4;
    for (var head = 0u; head < heads; head++) {
        let first = (r * heads + head) * params.head_dim + 4u * low;
        let x = Pairs(projected4(first), projected4(first + 4u * pairs));
        if head < params.n_heads {
            let to = r * 2u * width + head * dim4 + low;
            let here = turned_pairs(x, angles);
            q[to] = here.low;
            q[to + pairs] = here.high;
            let pinned = turned_pairs(x, pinned_angles);
            q[to + width] = pinned.low;
            q[to + width + pairs] = pinned.high;
        } else if head < keys {
            let at = (head - params.n_heads) * dim4 + low;
            let entry = turned_pairs(x, angles);
            put_keys(home, at, pairs, entry);
            put_keys(second, at, pairs, entry);
        } else {
            let at = (head - keys) * dim4 + low;
            put_values(home, at, pairs, x);
            put_values(second, at, pairs, x);
        }
    }
}

// Lanes of a row: fours of pairs first, then fours of columns that have no partner four columns wide (`kernels::rope::lanes_of_row`).
@compute @workgroup_size(WORKGROUP)
fn rope_texels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let dim4 = params.head_dim / 4u;
    let turning = params.rope_dim / 2u;
    let pairs = select(0u, turning / 4u, turning % 4u == 0u);
    let i = group_index(group, groups) * WORKGROUP + lane;
    let r = i / (dim4 - pairs);
    let mine = i % (dim4 - pairs);
    if r >= params.rows {
        return;
    }
    if mine < pairs {
        turn_heads(r, mine, pairs);
        return;
    }
    let heads = params.n_heads + 2u * params.n_kv_heads;
    for (var head = 0u; head < heads; head++) {
        rotate_four((r * heads + head) * dim4 + mine + pairs);
    }
}
