
// Lanes tell each other what each has found for its keys, each by its constant number. The workgroup must lie in one subgroup.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
fn begin_telling() {}
fn tell(what: u32, number: u32, lanes: Lanes) {}
fn end_telling() {}
#each $k
fn told_by_$k(what: u32, mine: u32) -> u32 {
    return subgroupBroadcast(mine, $ku);
}
#end
// Four columns of the queries: each lane reads one, because reading what all lanes want alike costs a software device as much as
// reading something else in each.
fn shares_of_queries(at: array<u32, SHARES>, d: u32) -> array<vec4<f32>, SHARES> {
    var places = at;
    var shares: array<vec4<f32>, SHARES>;
    for (var j = 0u; j < SHARES; j++) {
        shares[j] = q[places[j] + d];
    }
    return shares;
}
fn query_$i_of(shares: array<vec4<f32>, SHARES>, at: u32) -> vec4<f32> { return subgroupBroadcast(shares[$iu / WORKGROUP], $iu % WORKGROUP); }
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    let mine = bitcast<u32>(score);
    var most = score;
    #lanes
    most = max(most, bitcast<f32>(told$k(0u, mine)));
    #end
    return most;
}
fn sum_of_lanes(number: f32, lanes: Lanes) -> f32 {
    return subgroupAdd(number);
}
