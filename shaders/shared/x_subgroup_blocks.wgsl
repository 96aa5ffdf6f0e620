
// As x_subgroup, for runs of 32 columns: each lane reads four.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
struct Share {
    four: vec4<f32>, // in the unit in which the weights' numbers come
    sum: f32,
}
var<private> squares: f32;
fn share_of_x(first: u32, column: u32, lanes: Lanes) -> Share {
    let mine = column + (lanes.subgroup_lane & 7u);
    let v = x[first + mine];
    let unit = FIRST_unit(lanes.subgroup_lane & 7u);
    if NORM {
        squares += dot(v, v);
        let normed = v * gain[mine];
        return Share(normed * unit, dot(normed, vec4<f32>(1.0)));
    }
    return Share(v * unit, dot(v, vec4<f32>(1.0)));
}
#each $n
// Columns 4 $n to 4 $n + 3 of the run.
fn x$n_of(share: Share) -> vec4<f32> {
    return subgroupBroadcast(share.four, $nu);
}
#end
// The sum of the run.
fn total_of_x(share: Share) -> f32 {
    var sum = 0.0;
    sum += subgroupBroadcast(share.sum, $nu);
    return sum;
}
// What the sums over x are to be multiplied with.
fn scale_of_x(lanes: Lanes) -> f32 {
    if NORM {
        return 1.0 / sqrt(subgroupAdd(squares) / f32(params.cols4 * 4u) + params.eps);
    }
    return 1.0;
}
