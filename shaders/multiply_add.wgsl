// out[l] = sum over j of a_j after 4 quads rounds of a_j = scale a_j + shift, where a_j begins as x[l] + j      (j < 4)
//
// x, out (lanes) are vectors of four. Nothing but multiplications and additions: what the arithmetic of a device is measured by.
// Four vectors a lane do not wait for each other; a loop goes four rounds at a time, so that it costs little itself.
struct MultiplyAddParams {
    lanes: u32,
    quads: u32, // rounds / 4
    scale: f32,
    shift: f32,
}
@group(0) @binding(0) var<uniform> params: MultiplyAddParams;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // (lanes)
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // (lanes)

@compute @workgroup_size(WORKGROUP)
fn multiply_add(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.lanes {
        return;
    }
    let scale = vec4<f32>(params.scale);
    let shift = vec4<f32>(params.shift);
    var a$i = x[i] + vec4<f32>(f32($iu));
    for (var quad = 0u; quad < params.quads; quad++) {
        a$i = fma(a$i, scale, shift);
        a$i = fma(a$i, scale, shift);
        a$i = fma(a$i, scale, shift);
        a$i = fma(a$i, scale, shift);
    }
    var total = vec4<f32>();
    total += a$i;
    out[i] = total;
}
