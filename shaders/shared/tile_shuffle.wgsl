
// Lanes tell each other what each has found for its keys, one after the other in a loop. For drivers that sample textures, whose compilers
// take minutes over longer text. The workgroup must lie in one subgroup.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
fn begin_telling() {}
fn tell(what: u32, number: u32, lanes: Lanes) {}
fn end_telling() {}
fn told_by(lane: u32, what: u32, mine: u32) -> u32 {
    return subgroupShuffle(mine, lane);
}
// Four columns of the queries, which each lane reads by itself.
fn shares_of_queries(at: array<u32, SHARES>, d: u32) -> u32 {
    return 0u;
}
fn query_$i_of(shares: u32, at: u32) -> vec4<f32> { return q[at]; }
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    return subgroupMax(score);
}
fn sum_of_lanes(number: f32, lanes: Lanes) -> f32 {
    return subgroupAdd(number);
}
