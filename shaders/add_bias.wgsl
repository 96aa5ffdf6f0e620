// out[r, c] += bias[c]
//
// bias (cols), out (rows, cols). One invocation per four columns.
struct AddBiasParams {
    rows: u32,
    cols4: u32, // cols / 4
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> params: AddBiasParams;
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;      // (cols4)
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // (rows, cols4)

@compute @workgroup_size(WORKGROUP)
fn add_bias(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i < params.rows * params.cols4 {
        out[i] += bias[i % params.cols4];
    }
}
