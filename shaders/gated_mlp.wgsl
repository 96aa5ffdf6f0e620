// out[offset + r] = activated(gate[r, :] . x) * (up[r, :] . x)      NORM: x is normalized
//
// gate, up (rows, cols), x (cols), out (at least offset + rows). The first half of a gated feed-forward block
// (Shazeer, "GLU Variants Improve Transformer", 2020) for one token; the shape of the work is that of matvec.
@group(0) @binding(0) var<uniform> params: GatedMlpParams;
@group(0) @binding(1) var<storage, read> gate: array<gate_word>;
@group(0) @binding(2) var<storage, read> up: array<up_word>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;  // (cols4)
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn gated_mlp(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
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
    for (var c = lanes.index; c < params.cols4; c += WORKGROUP) {
        let v = x_at(0u, c);
        gates += vec4<f32>(
            dot(gate_at(gate0, c), v),
            dot(gate_at(gate1, c), v),
            dot(gate_at(gate2, c), v),
            dot(gate_at(gate3, c), v),
        );
        ups += vec4<f32>(
            dot(up_at(up0, c), v),
            dot(up_at(up1, c), v),
            dot(up_at(up2, c), v),
            dot(up_at(up3, c), v),
        );
    }
    let scale = scale_of_x(lanes);
    let a = activated(reduce_add4(gates, lanes) * scale, params.activation);
    let b = reduce_add4(ups, lanes) * scale;
    if lanes.index == 0u {
        for (var r = 0u; r < min(4u, params.rows - first); r++) {
            out[params.out_offset + first + r] = a[r] * b[r];
        }
    }
}
