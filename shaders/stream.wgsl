// out[l] = sum over k of x[(l / width) stretch + l mod width + k width]      (k width < stretch)
//
// x (count4) and out (lanes) are vectors of four. It reads all of x and does next to nothing with it: what the bandwidth of a device is
// measured by. Four sums a lane, so that four loads are under way. Lanes side by side read vectors side by side: all lanes on a GPU; on
// a software device a workgroup, so that each goes through memory in order.
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
    let first = i / params.width * params.stretch;
    let end = min(first + params.stretch, params.count4);
    var at = first + i % params.width;
    var sum$i = vec4<f32>();
    while at + (INPUTS - 1u) * params.width < end {
        sum$i += x[at + $iu * params.width];
        at += INPUTS * params.width;
    }
    var total = vec4<f32>();
    total += sum$i;
    while at < end {
        total += x[at];
        at += params.width;
    }
    out[i] = total;
}
