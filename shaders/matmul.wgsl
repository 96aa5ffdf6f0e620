// out[m, offset + r] = sum_c x[m, c] * weight[r, c]      (RESIDUAL: += instead of =)
//
// x (m, cols) from its `x_at`-th vec4 on, weight (rows, cols), out (m, stride). The matvec of four rows for four inputs at once: every
// piece of a weight row and of an input is loaded once for four products, with no workgroup memory in the loop.
@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> weight: array<weight_word>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (m, stride)

fn store(input: u32, first: u32, total: vec4<f32>) {
    if input >= params.inputs {
        return;
    }
    for (var r = 0u; r < min(4u, params.rows - first); r++) {
        let i = input * params.out_stride + params.out_offset + first + r;
        if RESIDUAL {
            out[i] += total[r];
        } else {
            out[i] = total[r];
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn matmul(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let row_groups = (params.rows + 3u) / 4u;
    let i = group_index(group, groups);
    let first = (i % row_groups) * 4u;
    let input = (i / row_groups) * 4u;
    if input >= params.inputs {
        return;
    }
    // Past the last row or input the last one is computed again and not stored.
    let last = params.rows - 1u;
    let row0 = weight_row(first);
    let row1 = weight_row(min(first + 1u, last));
    let row2 = weight_row(min(first + 2u, last));
    let row3 = weight_row(min(first + 3u, last));
    let last_input = params.inputs - 1u;
    let in0 = params.x_at + input * params.cols4;
    let in1 = params.x_at + min(input + 1u, last_input) * params.cols4;
    let in2 = params.x_at + min(input + 2u, last_input) * params.cols4;
    let in3 = params.x_at + min(input + 3u, last_input) * params.cols4;
    var sums0 = vec4<f32>();
    var sums1 = vec4<f32>();
    var sums2 = vec4<f32>();
    var sums3 = vec4<f32>();
    for (var c = lanes.index; c < params.cols4; c += WORKGROUP) {
        let w0 = weight_at(row0, c);
        let w1 = weight_at(row1, c);
        let w2 = weight_at(row2, c);
        let w3 = weight_at(row3, c);
        let x0 = x[in0 + c];
        let x1 = x[in1 + c];
        let x2 = x[in2 + c];
        let x3 = x[in3 + c];
        sums0 += vec4<f32>(dot(w0, x0), dot(w1, x0), dot(w2, x0), dot(w3, x0));
        sums1 += vec4<f32>(dot(w0, x1), dot(w1, x1), dot(w2, x1), dot(w3, x1));
        sums2 += vec4<f32>(dot(w0, x2), dot(w1, x2), dot(w2, x2), dot(w3, x2));
        sums3 += vec4<f32>(dot(w0, x3), dot(w1, x3), dot(w2, x3), dot(w3, x3));
    }
    let total0 = reduce_add4(sums0, lanes);
    let total1 = reduce_add4(sums1, lanes);
    let total2 = reduce_add4(sums2, lanes);
    let total3 = reduce_add4(sums3, lanes);
    if lanes.index == 0u {
        store(input, first, total0);
        store(input + 1u, first, total1);
        store(input + 2u, first, total2);
        store(input + 3u, first, total3);
    }
}
