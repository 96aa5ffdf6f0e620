// qkv[r, h, c] = qkv[r, h, c] * gain[h, c] / sqrt(mean_c(qkv[r, h, :]^2) + eps)    for the heads of queries and keys, in place
//
// qkv (rows, n_heads + 2 n_kv_heads, head_dim): queries, keys, values. gains (2, head_dim): one for all heads of queries,
// one for all heads of keys. Values stay as they are. One workgroup per head. As in Qwen3 (2025), after Henry et al.,
// "Query-Key Normalization for Transformers" (2020).
struct QkNormParams {
    rows: u32,
    n_heads: u32,
    n_kv_heads: u32,
    dim4: u32, // head_dim / 4
    eps: f32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: QkNormParams;
@group(0) @binding(1) var<storage, read> gains: array<vec4<f32>>;     // (2, dim4)
@group(0) @binding(2) var<storage, read_write> qkv: array<vec4<f32>>; // (rows, n_heads + 2 n_kv_heads, dim4)

@compute @workgroup_size(WORKGROUP)
fn qk_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let normed = params.n_heads + params.n_kv_heads;
    let i = group_index(group, groups);
    if i >= params.rows * normed {
        return;
    }
    let head = i % normed;
    let first = ((i / normed) * (normed + params.n_kv_heads) + head) * params.dim4;
    var gain = 0u;
    if head >= params.n_heads {
        gain = params.dim4;
    }
    var squares = vec4<f32>();
    for (var c = lanes.index; c < params.dim4; c += WORKGROUP) {
        let v = qkv[first + c];
        squares += v * v;
    }
    let total = reduce_add4(squares, lanes);
    let mean = (total.x + total.y + total.z + total.w) / f32(params.dim4 * 4u);
    let scale = 1.0 / sqrt(mean + params.eps);
    for (var c = lanes.index; c < params.dim4; c += WORKGROUP) {
        qkv[first + c] = qkv[first + c] * scale * gains[gain + c];
    }
}
