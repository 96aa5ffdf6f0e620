
// Lanes tell each other what each has found for its keys. The workgroup must lie in one subgroup.
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
#each $k
fn told_by_$k(what: u32, mine: u32) -> u32 {
    return subgroupBroadcast(mine, $ku);
}
#end
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    return subgroupMax(score);
}
fn sum_of_lanes(number: f32, lanes: Lanes) -> f32 {
    return subgroupAdd(number);
}
