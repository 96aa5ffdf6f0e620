// One result of what attention_split has made of the shares of a row's keys.
//
//   out[r, h, :] = sum_s w_s values_s / sum_s w_s total_s,  w_s = exp(top_s - max_s top_s)
//
// A share without a key has values and a total of 0, so its weight does not matter, and a top so low that it is the largest of none but its
// like. What is no number in any share is none in the result: nothing is left out of the sums.
//
// parts (rows, n_heads, splits, head_dim + 2): values, top, total. out (rows, n_heads, head_dim). One workgroup per row and head.
struct AttentionJoinParams {
    rows: u32,
    n_heads: u32,
    head_dim: u32,
    splits: u32,
}
@group(0) @binding(0) var<uniform> params: AttentionJoinParams;
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn attention_join(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups);
    if i >= params.rows * params.n_heads {
        return;
    }
    let width = params.head_dim + 2u;
    let first = i * params.splits * width;
    var top = parts[first + params.head_dim];
    for (var s = 1u; s < params.splits; s++) {
        top = max(top, parts[first + s * width + params.head_dim]);
    }
    for (var column = lane; column < params.head_dim; column += WORKGROUP) {
        var value = 0.0;
        var total = 0.0;
        for (var s = 0u; s < params.splits; s++) {
            let part = first + s * width;
            let weight = exp(parts[part + params.head_dim] - top);
            value += weight * parts[part + column];
            total += weight * parts[part + params.head_dim + 1u];
        }
        out[i * params.head_dim + column] = value / total;
    }
}
