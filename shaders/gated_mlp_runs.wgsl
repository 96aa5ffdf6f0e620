// out[offset + r] = activated(gate[r, :] . x) * (up[r, :] . x)      NORM: x is normalized
//
// For GPUs: a lane takes a run of columns at once (see matvec_runs). A line with $n stands for one line for each of the FOURS fours of
// columns of a run.
//
// gate, up (rows, cols), x (cols), out (at least offset + rows). One workgroup makes four rows.
@group(0) @binding(0) var<uniform> params: GatedMlpParams;
@group(0) @binding(1) var<storage, read> gate: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> up: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;  // (cols4)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn store(row: u32, value: f32) {
    if row < params.rows {
        out[params.out_offset + row] = value;
    }
}

@compute @workgroup_size(WORKGROUP)
fn gated_mlp_runs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let first = group_index(group, groups) * 4u;
    if first >= params.rows {
        return;
    }
    // Past the last row the last one is computed again and not stored.
    let last = params.rows - 1u;
    let gate0 = gate_row(first);
    let gate1 = gate_row(min(first + 1u, last));
    let gate2 = gate_row(min(first + 2u, last));
    let gate3 = gate_row(min(first + 3u, last));
    let up0 = up_row(first);
    let up1 = up_row(min(first + 1u, last));
    let up2 = up_row(min(first + 2u, last));
    let up3 = up_row(min(first + 3u, last));
    var gates = vec4<f32>();
    var ups = vec4<f32>();
    for (var run = lanes.index; run < runs_of_row(); run += WORKGROUP) {
        let gate_run0 = gate_run(gate0, run);
        let gate_run1 = gate_run(gate1, run);
        let gate_run2 = gate_run(gate2, run);
        let gate_run3 = gate_run(gate3, run);
        let up_run0 = up_run(up0, run);
        let up_run1 = up_run(up1, run);
        let up_run2 = up_run(up2, run);
        let up_run3 = up_run(up3, run);
        let x$n = run_of_x(0u, run, $nu);
        var all = vec4<f32>();
        all += x$n;
        var gate_parts = vec4<f32>();
        var up_parts = vec4<f32>();
        #each $n
        gate_parts += vec4<f32>(
            dot(gate_four(gate_run0, $nu), x$n),
            dot(gate_four(gate_run1, $nu), x$n),
            dot(gate_four(gate_run2, $nu), x$n),
            dot(gate_four(gate_run3, $nu), x$n),
        );
        up_parts += vec4<f32>(
            dot(up_four(up_run0, $nu), x$n),
            dot(up_four(up_run1, $nu), x$n),
            dot(up_four(up_run2, $nu), x$n),
            dot(up_four(up_run3, $nu), x$n),
        );
        #end
        let total = dot(all, vec4<f32>(1.0));
        gates += vec4<f32>(
            gate_sum(gate_run0, gate_parts.x, total),
            gate_sum(gate_run1, gate_parts.y, total),
            gate_sum(gate_run2, gate_parts.z, total),
            gate_sum(gate_run3, gate_parts.w, total),
        );
        ups += vec4<f32>(
            up_sum(up_run0, up_parts.x, total),
            up_sum(up_run1, up_parts.y, total),
            up_sum(up_run2, up_parts.z, total),
            up_sum(up_run3, up_parts.w, total),
        );
    }
    let scale = scale_of_x(lanes);
    let products = activated(reduce_add4(gates, lanes) * scale, params.activation) * (reduce_add4(ups, lanes) * scale);
    if lanes.index == 0u {
        store(first, products.x);
        store(first + 1u, products.y);
        store(first + 2u, products.z);
        store(first + 3u, products.w);
    }
}
