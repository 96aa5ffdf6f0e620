// out[offset + r] = activated(gate[r, :] . x) * (up[r, :] . x)      NORM: x is normalized
//
// For software devices: both weights in textures, x in a uniform, one row of the weights a lane (see matmul_texels).
// A line with $r stands for one line for each of eight rows.
//
// gate, up (rows, cols) in tiles of 64 rows, x (cols), out (at least offset + rows). One workgroup of eight lanes makes one tile.
@group(0) @binding(0) var<uniform> params: GatedMlpParams;
@group(0) @binding(1) var gate: WordTexels;
@group(0) @binding(2) var up: WordTexels;
@group(0) @binding(3) var<uniform> x: array<vec4<f32>, UNIFORM_LEN>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn put(row: u32, gate_sum: f32, up_sum: f32) {
    if row < params.rows {
        out[params.out_offset + row] = activated(vec4<f32>(gate_sum), params.activation).x * up_sum;
    }
}

@compute @workgroup_size(WORKGROUP)
fn gated_mlp_texels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let tile = group_index(group, groups);
    let first = tile * 64u + lane;
    let gate_shift = shift_of(textureDimensions(gate));
    let up_shift = shift_of(textureDimensions(up));
    let runs = params.cols4 / FOURS;
    var gate_sum$r = 0.0;
    var up_sum$r = 0.0;
    for (var run = 0u; run < runs; run++) {
        let share = share_of_x(0u, FOURS * run, lanes);
        let total = total_of_x(share);
        // One weight after the other: a software device has no registers for both.
        let gate_at = gate_run(tile, run, runs, gate_shift, lane);
        let gate_row$r = gate_row(gate_at, $ru);
        var gate_part$r = gate_begin(gate_sum$r);
        let x$n = x$n_of(share);
        #each $n
        gate_part$r += dot(gate_four(gate_row$r, $nu), x$n);
        #end
        gate_sum$r = gate_end(gate_sum$r, gate_part$r, total, gate_row$r);
        let up_at = up_run(tile, run, runs, up_shift, lane);
        let up_row$r = up_row(up_at, $ru);
        var up_part$r = up_begin(up_sum$r);
        #each $n
        up_part$r += dot(up_four(up_row$r, $nu), x$n);
        #end
        up_sum$r = up_end(up_sum$r, up_part$r, total, up_row$r);
    }
    let scale = scale_of_x(lanes);
    put(first + 8u * $ru, gate_sum$r * scale, up_sum$r * scale);
}
