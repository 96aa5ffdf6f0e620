
// A run of columns of an input in a uniform, from its `first`-th vec4 on: each of eight lanes reads a part and hands it round. The
// workgroup must lie in one subgroup. Where NORM, normalized on the way (see x_rows).
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
// Of a run of eight columns, a lane's column.
alias Share = f32;
var<private> squares: f32;
// `column` is the place of the run in the input, in vec4s.
fn share_of_x(first: u32, column: u32, lanes: Lanes) -> Share {
    let lane = lanes.subgroup_lane & 7u;
    let v = x[first + column + lane / 4u][lane % 4u];
    if NORM {
        squares += v * v;
        return v * gain[column + lane / 4u][lane % 4u];
    }
    return v;
}
#each $n
// Columns 4 $n to 4 $n + 3 of the run.
fn x$n_of(share: Share) -> vec4<f32> {
    return vec4<f32>(
        subgroupBroadcast(share, 4u * $nu),
        subgroupBroadcast(share, 4u * $nu + 1u),
        subgroupBroadcast(share, 4u * $nu + 2u),
        subgroupBroadcast(share, 4u * $nu + 3u),
    );
}
#end
// The sum of the run, which weights in floats do not need.
fn total_of_x(share: Share) -> f32 {
    return 0.0;
}
// What the sums over x are to be multiplied with.
fn scale_of_x(lanes: Lanes) -> f32 {
    if NORM {
        return 1.0 / sqrt(subgroupAdd(squares) / f32(params.cols4 * 4u) + params.eps);
    }
    return 1.0;
}
