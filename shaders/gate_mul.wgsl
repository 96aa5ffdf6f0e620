// gate[i] = activated(gate[i]) * up[i]
//
// gate, up (n). The gate of a feed-forward block for many tokens, whose products matmul has made.
struct GateMulParams {
    count4: u32, // elements / 4
    activation: u32,
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> params: GateMulParams;
@group(0) @binding(1) var<storage, read_write> gate: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn gate_mul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.count4 {
        return;
    }
    gate[i] = activated(gate[i], params.activation) * up[i];
}
