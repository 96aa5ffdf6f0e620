// out[offset + r] = sum_c weight[r, c] * x[x_row, c]      (RESIDUAL: += instead of =)
//
// weight (rows, cols), x (any, cols) of which row `x_row`, out (at least offset + rows). One workgroup makes four rows: its lanes walk the
// columns together, so weights are read contiguously and each piece of x is loaded once for four rows.
struct MatvecParams {
    rows: u32,
    cols4: u32,      // cols / 4
    out_offset: u32, // first output element
    x_row: u32,      // which row of x
}
@group(0) @binding(0) var<uniform> params: MatvecParams;
@group(0) @binding(1) var<storage, read> weight: array<Weight4>; // (rows, cols4)
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;    // (any, cols4)
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn matvec(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let first = group_index(group, groups) * 4u;
    if first >= params.rows {
        return;
    }
    // Past the last row the last one is computed again and not stored.
    let last = params.rows - 1u;
    let row0 = first * params.cols4;
    let row1 = min(first + 1u, last) * params.cols4;
    let row2 = min(first + 2u, last) * params.cols4;
    let row3 = min(first + 3u, last) * params.cols4;
    let origin = params.x_row * params.cols4;
    var sums = vec4<f32>();
    for (var c = lanes.index; c < params.cols4; c += WORKGROUP) {
        let v = x[origin + c];
        sums += vec4<f32>(
            dot(weight4(weight[row0 + c]), v),
            dot(weight4(weight[row1 + c]), v),
            dot(weight4(weight[row2 + c]), v),
            dot(weight4(weight[row3 + c]), v),
        );
    }
    let total = reduce_add4(sums, lanes);
    if lanes.index == 0u {
        for (var r = 0u; r < min(4u, params.rows - first); r++) {
            let i = params.out_offset + first + r;
            if RESIDUAL {
                out[i] += total[r];
            } else {
                out[i] = total[r];
            }
        }
    }
}
