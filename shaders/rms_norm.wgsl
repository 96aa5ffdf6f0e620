// out[r, c] = x[r, c] * gain[c] / sqrt(mean_c(x[r, :]^2) + eps)      (RESIDUAL: += instead of =)
//
// x, out (rows, dim), gain (dim). One workgroup per row.
// Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
struct RmsNormParams {
    rows: u32,
    dim4: u32, // dim / 4
    eps: f32,
    pad0: u32,
}
@group(0) @binding(0) var<uniform> params: RmsNormParams;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // (rows, dim4)
@group(0) @binding(2) var<storage, read> gain: array<vec4<f32>>;     // (dim4)
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // (rows, dim4)

@compute @workgroup_size(WORKGROUP)
fn rms_norm(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let first = row * params.dim4;
    var squares = vec4<f32>();
    for (var c = lanes.index; c < params.dim4; c += WORKGROUP) {
        let v = x[first + c];
        squares += v * v;
    }
    let total = reduce_add4(squares, lanes);
    let mean = (total.x + total.y + total.z + total.w) / f32(params.dim4 * 4u);
    let scale = 1.0 / sqrt(mean + params.eps);
    for (var c = lanes.index; c < params.dim4; c += WORKGROUP) {
        let normalized = x[first + c] * scale * gain[c];
        if RESIDUAL {
            out[first + c] += normalized;
        } else {
            out[first + c] = normalized;
        }
    }
}
