// x[i] = capped(x[i])
//
// x (n): logits that are bent to stay within a bound, in place.
struct SoftCapParams {
    n: u32,
    cap: f32,
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> params: SoftCapParams;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn soft_cap(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.n {
        return;
    }
    x[i] = capped(vec4<f32>(x[i]), params.cap).x;
}
