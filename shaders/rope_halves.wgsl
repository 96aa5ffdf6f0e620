// Rotates queries and keys by their position and puts keys and values where attention will read them: buffers of 16-bit floats.
//
// The formula is that of rope.wgsl. Two columns share a word, and those that turn together do not, so one invocation makes four columns
// that lie together.
//
// rows (rows), qkv (rows, (n_heads + 2 n_kv_heads) head_dim), table ((1024 + 4096), rope_dim/2) of (cos, sin),
// q (rows, 2, n_heads, head_dim), k and v (rows or slots, n_kv_heads, head_dim).
@group(0) @binding(0) var<uniform> params: RopeParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read_write> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> k: array<KvFour>;
@group(0) @binding(6) var<storage, read_write> v: array<KvFour>;

// Where columns 4 `at` to 4 `at` + 3 of the entry in `slot` lie.
fn place(slot: u32, at: u32) -> u32 {
    return slot * params.n_kv_heads * params.head_dim / 4u + at;
}

fn put_key(slot: u32, at: u32, x: vec4<f32>) {
    k[place(slot, at)] = encoded(x);
}

fn put_value(slot: u32, at: u32, x: vec4<f32>) {
    v[place(slot, at)] = encoded(x);
}

@compute @workgroup_size(WORKGROUP)
fn rope_halves(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    rotate_four(group_index(group, groups) * WORKGROUP + lane);
}
