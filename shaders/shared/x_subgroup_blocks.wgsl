
// As x_subgroup, for runs of 32 columns: each lane reads four.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
alias Share = vec4<f32>;
fn share_of_x(first: u32, lanes: Lanes) -> Share {
    return x[first + (lanes.subgroup_lane & 7u)];
}
// Columns 4 $n to 4 $n + 3 of the run.
#each $n
fn x$n_of(share: Share) -> vec4<f32> {
    return subgroupBroadcast(share, $nu);
}
#end
// The sum of the run.
fn total_of_x(share: Share) -> f32 {
    let mine = dot(share, vec4<f32>(1.0));
    var sum = 0.0;
    sum += subgroupBroadcast(mine, $nu);
    return sum;
}
