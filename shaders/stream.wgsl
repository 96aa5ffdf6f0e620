// out[l] = x[l] + x[l + lanes] + x[l + 2 lanes] + ...
//
// x (count4) and out (lanes) are vectors of four. It reads all of x and does next to nothing with it: what the bandwidth of a device is
// measured by. Four sums a lane, so that four loads are under way.
@group(0) @binding(0) var<uniform> params: StreamParams;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;         // (count4)
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // (lanes)

@compute @workgroup_size(WORKGROUP)
fn stream(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.lanes {
        return;
    }
    var sum$i = vec4<f32>();
    var at = i;
    for (var turn = 0u; turn < params.turns; turn++) {
        sum$i += x[at + $iu * params.lanes];
        at += INPUTS * params.lanes;
    }
    var total = vec4<f32>();
    total += sum$i;
    while at < params.count4 {
        total += x[at];
        at += params.lanes;
    }
    out[i] = total;
}
