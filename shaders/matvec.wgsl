// out[offset + r] = sum_c weight[r, c] * x[c]      (RESIDUAL: += instead of =; NORM: x is normalized)
//
// weight (rows, cols), x (cols) from its `x_at`-th vec4 on, out (at least offset + rows). One workgroup makes four rows: its lanes walk the
// columns together, so weights are read contiguously and each piece of x is loaded once for four rows.
@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> weight: array<weight_word>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn matvec(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let first = group_index(group, groups) * 4u;
    if first >= params.rows {
        return;
    }
    // Past the last row the last one is computed again and not stored.
    let last = params.rows - 1u;
    let row0 = weight_row(first);
    let row1 = weight_row(min(first + 1u, last));
    let row2 = weight_row(min(first + 2u, last));
    let row3 = weight_row(min(first + 3u, last));
    var sums = vec4<f32>();
    for (var c = lanes.index; c < params.cols4; c += WORKGROUP) {
        let v = x_at(params.x_at, c);
        sums += vec4<f32>(
            dot(weight_at(row0, c), v),
            dot(weight_at(row1, c), v),
            dot(weight_at(row2, c), v),
            dot(weight_at(row3, c), v),
        );
    }
    let total = reduce_add4(sums, lanes) * scale_of_x(lanes);
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
