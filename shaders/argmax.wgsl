// out[offset + r] = the lowest column among the largest of logits[r, :]
//
// logits (rows, cols), out (at least offset + rows). One workgroup per row.
struct ArgmaxParams {
    rows: u32,
    cols: u32,
    out_offset: u32,
    pad0: u32,
}
@group(0) @binding(0) var<uniform> params: ArgmaxParams;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // (rows, cols)
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

var<workgroup> best_value: array<f32, WORKGROUP>;
var<workgroup> best_column: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn argmax(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let first = row * params.cols;
    // A lane without a column repeats column 0, which can never win over itself.
    var column = select(0u, lane, lane < params.cols);
    var value = logits[first + column];
    for (var c = lane + WORKGROUP; c < params.cols; c += WORKGROUP) {
        let v = logits[first + c];
        if v > value {
            value = v;
            column = c;
        }
    }
    best_value[lane] = value;
    best_column[lane] = column;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half {
            let v = best_value[lane + half];
            let c = best_column[lane + half];
            if v > best_value[lane] || (v == best_value[lane] && c < best_column[lane]) {
                best_value[lane] = v;
                best_column[lane] = c;
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        out[params.out_offset + row] = best_column[0];
    }
}
