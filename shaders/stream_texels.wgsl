// out[l] = sum over k of x[(l / width) stretch + l mod width + k width]      (k width < stretch)
//
// For software devices, which read textures faster than buffers. x (count4) in a texture of floats, out (lanes) in a buffer.
// It reads all of x and does next to nothing with it: what the bandwidth of a device is measured by.
@group(0) @binding(0) var<uniform> params: StreamParams;
@group(0) @binding(1) var x: FloatTexels;                             // (count4)
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // (lanes)

@compute @workgroup_size(WORKGROUP)
fn stream_texels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.lanes {
        return;
    }
    let shift = shift_of(textureDimensions(x));
    let first = i / params.width * params.stretch;
    let end = min(first + params.stretch, params.count4);
    var at = first + i % params.width;
    var sum$i = vec4<f32>();
    while at + (INPUTS - 1u) * params.width < end {
        sum$i += textureLoad(x, fold(at + $iu * params.width, shift)$level);
        at += INPUTS * params.width;
    }
    var total = vec4<f32>();
    total += sum$i;
    while at < end {
        total += textureLoad(x, fold(at, shift)$level);
        at += params.width;
    }
    out[i] = total;
}
