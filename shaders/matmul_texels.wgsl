// out[m, offset + r] = sum_c x[m, c] * weight[r, c]      (RESIDUAL: += instead of =; NORM: x is normalized, one input)
//
// For software devices: weights in a texture, x in a uniform, one row of the weights a lane. Every lane makes rows $r of its tile for
// inputs $i: a weight is loaded once for all inputs, an input once for eight rows, and nothing is summed across lanes.
// A line with $r stands for one line for each of eight rows, one with $i for one for each of INPUTS inputs; the lines from #each $n to
// #end stand for as many such groups as a run of the weights has four columns.
//
// x (m, cols) from its `x_at`-th vec4 on, of which the last inputs may be missing, weight (rows, cols) in tiles of 64 rows,
// out (m, stride). One workgroup of eight lanes makes one tile.
@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var weight: WordTexels;
@group(0) @binding(2) var<uniform> x: array<vec4<f32>, UNIFORM_LEN>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (m, stride)

fn put(row: u32, input: u32, sum: f32) {
    if row >= params.rows || input >= params.inputs {
        return;
    }
    let i = params.out_offset + input * params.out_stride + row;
    if RESIDUAL {
        out[i] += sum;
    } else {
        out[i] = sum;
    }
}

@compute @workgroup_size(WORKGROUP)
fn matmul_texels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let tile = group_index(group, groups);
    let first = tile * 64u + lane;
    let shift = shift_of(textureDimensions(weight));
    let runs = params.cols4 / FOURS;
    let first$i = params.x_at + $iu * params.cols4;
    var sum$r_$i = 0.0;
    for (var run = 0u; run < runs; run++) {
        let at = weight_run(tile, run, runs, shift, lane);
        let row$r = weight_row(at, $ru);
        let share$i = share_of_x(first$i, FOURS * run, lanes);
        var part$r_$i = weight_begin(sum$r_$i);
        #each $n
        let w$n_$r = weight_four(row$r, $nu);
        let x$n_$i = x$n_of(share$i);
        part$r_$i += dot(w$n_$r, x$n_$i);
        #end
        let total$i = total_of_x(share$i);
        sum$r_$i = weight_end(sum$r_$i, part$r_$i, total$i, row$r);
    }
    // In a loop, because the text of 64 stores takes a software device's compiler seconds.
    var sums: array<f32, 8u * INPUTS>;
    let scale = scale_of_x(lanes);
    sums[$ru * INPUTS + $iu] = sum$r_$i * scale;
    for (var j = 0u; j < 8u * min(params.inputs, INPUTS); j++) {
        put(first + 8u * (j % 8u), j / 8u, sums[j % 8u * INPUTS + j / 8u]);
    }
}
