// out[m, offset + r] = sum_c x[m, c] * weight[r, c]      (RESIDUAL: += instead of =)
//
// For GPUs with 16-bit floats, and many inputs: `matmul_tiled` with tiles of half the size. A workgroup makes a square of the output, a lane
// four rows for four inputs. The columns come in steps of sixteen, turned on the way into workgroup memory, so that a vector holds four rows
// (or four inputs) of one column: then a product of two vectors' parts is four sums' next terms, and no lane adds across a vector.
//
// A 16-bit float ends at 65,504 and is exact to 11 bits, so:
//
// - Each row and each input is multiplied with a power of two of its own in each step, such that its largest number lies in [16, 32]. The
//   power comes from the exponent's bits, and is taken out of the sum again, exactly. So a number of any size has 11 bits, and beside a
//   larger one in the same sixteen columns those of at least 2^-18 of it (2^-29 where the device keeps subnormals).
// - A sum of 16 bits has sixteen terms of at most 32 * 32, so it stays below 16,384, whatever the inputs are. Then it is added to one of
//   32 bits.
// - A step is off by at most 0.01 * sum |x w| + 2^-12 * (largest |x|) * (largest |w|) of those 16 columns: eighteen roundings of 2^-11, and
//   what is too small; twice the first where a device does not round but cuts off. Roundings cancel, so it is mostly a tenth of that or less.
// - A row or input whose largest number is below 2^-122 may count as zeros. Infinity, or what is no number, stays so.
//
// x (m, cols) from its `x_at`-th vec4 on, weight (rows, cols), out (m, stride).
enable f16;
// Blocks of four rows by four columns in a step, which a lane each reads and turns; then as many of inputs.
const BLOCKS: u32 = SIDE * STEP;
// Columns of the weights, then of the inputs: (2, columns of a step, fours).
var<workgroup> tile: array<vec4<f16>, 8u * BLOCKS>;
// The largest exponent of each row of a block, a byte each: (fours, blocks of a step).
var<workgroup> exponents: array<u32, 2u * BLOCKS>;
// What takes the powers of two out again: (fours).
var<workgroup> scales: array<vec4<f32>, 2u * SIDE>;

// Exponents below it count as this one, so that both powers are numbers.
const LEAST_EXPONENT: u32 = 5u;

// The larger exponent of each lane of `four` and those packed in `word`.
fn larger(four: vec4<u32>, word: u32) -> vec4<u32> {
    return max(four, (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}

fn bits(v: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
}

fn power(exponent: vec4<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(exponent << vec4<u32>(23u));
}

@compute @workgroup_size(WORKGROUP)
fn matmul_tiled_f16(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Tiles of the same rows follow each other: the weights are more than the inputs, so they are what should still lie in a cache.
    let tiles = (params.inputs + TILE - 1u) / TILE;
    let index = group_index(group, groups);
    let first_row = index / tiles * TILE;
    let first_input = index % tiles * TILE;
    if first_row >= params.rows {
        return;
    }
    let mine = lane % SIDE;
    let my_input = lane / SIDE;
    // The block that this lane stages, if one: which four, which vec4 of the step, and where its first column goes.
    let stages = lane < 2u * BLOCKS;
    let of_weights = lane < BLOCKS;
    let four = lane % BLOCKS / STEP;
    let part = lane % STEP;
    let at = (lane / BLOCKS * 4u * STEP + 4u * part) * SIDE + four;
    var sums$i = vec4<f32>();
    for (var column = 0u; column < params.cols4; column += STEP) {
        let c = column + part;
        // Past the last column are zeros, on both sides, because what lies there may be no number. Past the last row or input the last one
        // is computed again and not stored.
        var v$i = vec4<f32>();
        if of_weights && c < params.cols4 {
            v$i = weight_at(weight_row(min(first_row + four + $iu * SIDE, params.rows - 1u)), c);
        } else if stages && c < params.cols4 {
            v$i = x[params.x_at + min(first_input + four + $iu * SIDE, params.inputs - 1u) * params.cols4 + c];
        }
        let cx = vec4<f32>(v0.x, v1.x, v2.x, v3.x);
        let cy = vec4<f32>(v0.y, v1.y, v2.y, v3.y);
        let cz = vec4<f32>(v0.z, v1.z, v2.z, v3.z);
        let cw = vec4<f32>(v0.w, v1.w, v2.w, v3.w);
        if stages {
            let e = max(max(bits(cx), bits(cy)), max(bits(cz), bits(cw))) >> vec4<u32>(23u);
            exponents[lane] = e.x | (e.y << 8u) | (e.z << 16u) | (e.w << 24u);
        }
        workgroupBarrier(); // the exponents are there, and nobody reads the step before any more
        if stages {
            var e = vec4<u32>(LEAST_EXPONENT);
            e = larger(e, exponents[lane - part + $su]);
            let scale = power(258u - e);
            tile[at] = vec4<f16>(cx * scale);
            tile[at + SIDE] = vec4<f16>(cy * scale);
            tile[at + 2u * SIDE] = vec4<f16>(cz * scale);
            tile[at + 3u * SIDE] = vec4<f16>(cw * scale);
            if part == 0u {
                scales[lane / STEP] = power(e - 4u);
            }
        }
        workgroupBarrier();
        var halves$i = vec4<f16>();
        #each $s
        {
            let w = 4u * $su * SIDE + mine;
            let v = 4u * (STEP + $su) * SIDE + my_input;
            let wx = tile[w];
            let wy = tile[w + SIDE];
            let wz = tile[w + 2u * SIDE];
            let ww = tile[w + 3u * SIDE];
            let vx = tile[v];
            let vy = tile[v + SIDE];
            let vz = tile[v + 2u * SIDE];
            let vw = tile[v + 3u * SIDE];
            halves$i += wx * vx[$i];
            halves$i += wy * vy[$i];
            halves$i += wz * vz[$i];
            halves$i += ww * vw[$i];
        }
        #end
        let w_scale = scales[mine];
        let x_scale = scales[SIDE + my_input];
        sums$i += vec4<f32>(halves$i) * (w_scale * x_scale[$i]);
    }
    store(first_row + mine, first_input + my_input + $iu * SIDE, sums$i);
}
