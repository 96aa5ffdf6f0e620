// out[offset + r] = the lowest column among the largest of logits[r, :], NOT_FINITE where one of them is not finite
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
    var best = NOBODY;
    for (var c = lane; c < params.cols; c += WORKGROUP) {
        let candidate = vec2<u32>(order_key(logits[first + c]), c);
        if beats(candidate, best) {
            best = candidate;
        }
    }
    best = best_of_all(best, lane);
    if lane == 0u {
        out[params.out_offset + row] = select(best.y, NOT_FINITE, best.x == NOT_FINITE);
    }
}
