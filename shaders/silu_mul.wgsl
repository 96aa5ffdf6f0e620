// gate[i] = silu(gate[i]) * up[i]      silu(a) = a / (1 + exp(-a))
//
// gate, up (n). The gate of a SwiGLU feed-forward block for many tokens, whose products matmul has made.
struct SiluMulParams {
    count4: u32, // elements / 4
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: SiluMulParams;
@group(0) @binding(1) var<storage, read_write> gate: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;

@compute @workgroup_size(WORKGROUP)
fn silu_mul(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.count4 {
        return;
    }
    // exp overflows past 88; below -80 the gate is zero in 32 bits.
    let a = max(gate[i], vec4<f32>(-80.0));
    gate[i] = a / (1.0 + exp(-a)) * up[i];
}
