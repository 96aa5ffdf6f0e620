// What the squares of lanes have alike that make a square of the output: what is bound, how large they are, and how a lane stores.
@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> weight: array<weight_word>;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (m, stride)

// Lanes of a side: 8 of 64, 16 of 256.
const SIDE: u32 = 8u * (1u + WORKGROUP / 256u);
// Rows of a tile, and as many inputs. Row `i` of a lane's four is SIDE rows behind the one before, as lanes side by side store side by side.
const TILE: u32 = 4u * SIDE;
// vec4s of a row in a step.
const STEP: u32 = 4u;

fn store_one(row: u32, input: u32, sum: f32) {
    if row >= params.rows || input >= params.inputs {
        return;
    }
    let i = input * params.out_stride + params.out_offset + row;
    if RESIDUAL {
        out[i] += sum;
    } else {
        out[i] = sum;
    }
}

// The sums of a lane for one input, of its four rows.
fn store(row: u32, input: u32, sums: vec4<f32>) {
    store_one(row, input, sums.x);
    store_one(row + SIDE, input, sums.y);
    store_one(row + 2u * SIDE, input, sums.z);
    store_one(row + 3u * SIDE, input, sums.w);
}
