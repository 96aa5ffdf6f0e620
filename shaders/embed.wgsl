// out[r, :] = scale * table[tokens[r], :] for the tokens whose row lies in this part of the table.
//
// weight (part_rows, cols), tokens (rows), out (rows, cols). One invocation copies four columns of one row.
@group(0) @binding(0) var<uniform> params: EmbedParams;
@group(0) @binding(1) var<storage, read> weight: array<weight_word>;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;         // (rows)
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // (rows, cols4)

@compute @workgroup_size(WORKGROUP)
fn embed(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.rows * params.cols4 {
        return;
    }
    let row = i / params.cols4;
    let token = tokens[row];
    if token < params.part_first || token - params.part_first >= params.part_rows {
        return;
    }
    out[i] = params.scale * weight_at(weight_row(token - params.part_first), i % params.cols4);
}
