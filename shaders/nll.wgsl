// out[offset + r] = log(sum_c exp(logits[r, c])) - logits[r, targets[offset + r]]
//
// The negative log-likelihood of the target in nats, by log-sum-exp with the row's maximum taken out.
// logits (rows, cols), targets and out (at least offset + rows). One workgroup per row.
struct NllParams {
    rows: u32,
    cols: u32,
    offset: u32,
    pad0: u32,
}
@group(0) @binding(0) var<uniform> params: NllParams;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // (rows, cols)
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

var<workgroup> largest: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn nll(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let row = group_index(group, groups);
    if row >= params.rows {
        return;
    }
    let first = row * params.cols;
    var top = logits[first];
    for (var c = lanes.index; c < params.cols; c += WORKGROUP) {
        top = max(top, logits[first + c]);
    }
    largest[lanes.index] = top;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lanes.index < half {
            largest[lanes.index] = max(largest[lanes.index], largest[lanes.index + half]);
        }
        workgroupBarrier();
    }
    top = largest[0];
    var sum = 0.0;
    for (var c = lanes.index; c < params.cols; c += WORKGROUP) {
        sum += exp(logits[first + c] - top);
    }
    let total = reduce_add4(vec4<f32>(sum, 0.0, 0.0, 0.0), lanes).x;
    if lanes.index == 0u {
        // A target outside the vocabulary was refused by the host; the clamp keeps a wrong one harmless.
        let target_column = min(targets[params.offset + row], params.cols - 1u);
        out[params.offset + row] = log(total) + top - logits[first + target_column];
    }
}
