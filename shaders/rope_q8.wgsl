// Rotates queries and keys by their position and puts keys and values where attention will read them: buffers of signed bytes with a scale
// behind each head.
//
// The formula is that of rope.wgsl. A head's scale is its largest absolute value times 1/127, and a column is the nearest multiple of it.
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), rope_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim / 4 + 1) words. One workgroup per row and head.
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<KvFour>;
@group(0) @binding(6) var<storage, read_write> v: array<KvFour>;

// Where piece `at` of the entry in `slot` lies.
fn place(slot: u32, at: u32) -> u32 {
    return slot * params.n_kv_heads * (params.head_dim / 4u + SCALE_FOURS) + at;
}

fn put_key(slot: u32, at: u32, piece: KvFour) {
    k[place(slot, at)] = piece;
}

fn put_value(slot: u32, at: u32, piece: KvFour) {
    v[place(slot, at)] = piece;
}

@compute @workgroup_size(WORKGROUP)
fn rope_q8(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    rotate_head(group_index(group, groups), lane);
}
