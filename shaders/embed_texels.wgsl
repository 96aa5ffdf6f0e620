// out[r, :] = scale * table[tokens[r], :] for the tokens whose row lies in this part of the table.
//
// For a table that lies in a texture, as a tied output matrix does on a software device (see matmul_texels).
// weight (part_rows, cols) in tiles of 64 rows, tokens (rows), out (rows, cols). One invocation copies one run of columns of one row.
@group(0) @binding(0) var<uniform> params: EmbedParams;
@group(0) @binding(1) var weight: WordTexels;
@group(0) @binding(2) var<storage, read> tokens: array<u32>;          // (rows)
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>; // (rows, cols4)

@compute @workgroup_size(WORKGROUP)
fn embed_texels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let runs = params.cols4 / FOURS;
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.rows * runs {
        return;
    }
    let token = tokens[i / runs];
    if token < params.part_first || token - params.part_first >= params.part_rows {
        return;
    }
    let row = token - params.part_first;
    let at = weight_run(row / 64u, i % runs, runs, shift_of(textureDimensions(weight)), row % 8u);
    let mine = weight_row(at, row % 64u / 8u);
    out[FOURS * i + $nu] = params.scale * weight_value(mine, weight_unit($nu) * weight_four(mine, $nu));
}
