
// A run of columns of an input, from the `first`-th vec4 of the uniform on: each of eight lanes reads a part and hands it round.
// The workgroup must lie in one subgroup.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
// Of a run of eight columns, a lane's column.
alias Share = f32;
fn share_of_x(first: u32, lanes: Lanes) -> Share {
    let lane = lanes.subgroup_lane & 7u;
    return x[first + lane / 4u][lane % 4u];
}
// Columns 4 $n to 4 $n + 3 of the run.
#each $n
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
