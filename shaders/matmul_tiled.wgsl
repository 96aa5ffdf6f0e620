// out[m, offset + r] = sum_c x[m, c] * weight[r, c]      (RESIDUAL: += instead of =)
//
// For GPUs, and many inputs. The lanes of a workgroup are a square that makes a square of the output: a lane makes four rows for INPUTS
// inputs, so that each number which it reads from workgroup memory is used four times, and each that the workgroup reads from memory as
// often as the tile is wide. The columns come in steps of sixteen, weights decoded on the way into workgroup memory.
//
// x (m, cols) from its `x_at`-th vec4 on, weight (rows, cols), out (m, stride).

// vec4s from one row to the next: five, so that eight lanes that read eight rows hit all banks, each once.
const STRIDE: u32 = 5u;
var<workgroup> weights: array<vec4<f32>, TILE * STRIDE>;
var<workgroup> xs: array<vec4<f32>, TILE * STRIDE>;

// Puts the `i`-th vec4 of a step into workgroup memory, of a row and of an input; `column` is where the step begins.
fn stage(i: u32, row: u32, input: u32, column: u32) {
    let c = column + i % STEP;
    let at = i / STEP * STRIDE + i % STEP;
    // Past the last column are zeros, on both sides, because what lies there may be no number. Past the last row or input the last one is
    // computed again and not stored.
    var w = vec4<f32>();
    var v = vec4<f32>();
    if c < params.cols4 {
        w = weight_at(weight_row(min(row + i / STEP, params.rows - 1u)), c);
        v = x[params.x_at + min(input + i / STEP, params.inputs - 1u) * params.cols4 + c];
    }
    weights[at] = w;
    xs[at] = v;
}

@compute @workgroup_size(WORKGROUP)
fn matmul_tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Tiles of the same rows follow each other: the weights are more than the inputs, so they are what should still lie in a cache.
    let tiles = (params.inputs + TILE - 1u) / TILE;
    let i = group_index(group, groups);
    let first_row = i / tiles * TILE;
    let first_input = i % tiles * TILE;
    if first_row >= params.rows {
        return;
    }
    // Lanes beside each other have rows beside each other, which lie so in the output.
    let mine = lane % SIDE;
    let my_input = lane / SIDE;
    var sums$i = vec4<f32>();
    for (var column = 0u; column < params.cols4; column += STEP) {
        workgroupBarrier(); // the step before may still be read
        stage(lane, first_row, first_input, column);
        if WORKGROUP < TILE * STEP {
            stage(lane + WORKGROUP, first_row, first_input, column);
        }
        workgroupBarrier();
        #each $s
        {
            let w0 = weights[mine * STRIDE + $su];
            let w1 = weights[(mine + SIDE) * STRIDE + $su];
            let w2 = weights[(mine + 2u * SIDE) * STRIDE + $su];
            let w3 = weights[(mine + 3u * SIDE) * STRIDE + $su];
            let x$i = xs[(my_input + $iu * SIDE) * STRIDE + $su];
            sums$i += vec4<f32>(dot(w0, x$i), dot(w1, x$i), dot(w2, x$i), dot(w3, x$i));
        }
        #end
    }
    store(first_row + mine, first_input + my_input + $iu * SIDE, sums$i);
}
