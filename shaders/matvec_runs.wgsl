// out[offset + r] = sum_c weight[r, c] * x[c]      (RESIDUAL: += instead of =; NORM: x is normalized)
//
// For GPUs: a lane takes a run of columns at once, of which the numbers of a row are one or two loads of 16 bytes, and lanes beside each
// other take runs beside each other. A run of x is loaded once for four rows, and a scale once for a run.
// A line with $n stands for one line for each of the FOURS fours of columns of a run.
//
// weight (rows, cols), x (cols) from its `x_at`-th vec4 on, out (at least offset + rows). One workgroup makes four rows.
@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn store(row: u32, sum: f32) {
    if row >= params.rows {
        return;
    }
    let i = params.out_offset + row;
    if RESIDUAL {
        out[i] += sum;
    } else {
        out[i] = sum;
    }
}

@compute @workgroup_size(WORKGROUP)
fn matvec_runs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
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
    for (var run = lanes.index; run < runs_of_row(); run += WORKGROUP) {
        let run0 = weight_run(row0, run);
        let run1 = weight_run(row1, run);
        let run2 = weight_run(row2, run);
        let run3 = weight_run(row3, run);
        let x$n = run_of_x(params.x_at, run, $nu);
        var all = vec4<f32>();
        all += x$n;
        var parts = vec4<f32>();
        #each $n
        parts += vec4<f32>(
            dot(weight_four(run0, $nu), x$n),
            dot(weight_four(run1, $nu), x$n),
            dot(weight_four(run2, $nu), x$n),
            dot(weight_four(run3, $nu), x$n),
        );
        #end
        let total = dot(all, vec4<f32>(1.0));
        sums += vec4<f32>(
            weight_sum(run0, parts.x, total),
            weight_sum(run1, parts.y, total),
            weight_sum(run2, parts.z, total),
            weight_sum(run3, parts.w, total),
        );
    }
    let total = reduce_add4(sums, lanes) * scale_of_x(lanes);
    if lanes.index == 0u {
        store(first, total.x);
        store(first + 1u, total.y);
        store(first + 2u, total.z);
        store(first + 3u, total.w);
    }
}
