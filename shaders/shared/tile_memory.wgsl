
// Lanes tell each other what each has found for its keys, through workgroup memory.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
var<workgroup> told: array<u32, WORKGROUP * (1u + INPUTS)>;
fn begin_telling() {
    workgroupBarrier(); // what was told before may still be read
}
fn tell(what: u32, number: u32, lanes: Lanes) {
    told[what * WORKGROUP + lanes.index] = number;
}
fn end_telling() {
    workgroupBarrier();
}
fn told_by(lane: u32, what: u32, mine: u32) -> u32 {
    return told[what * WORKGROUP + lane];
}
// Four columns of the queries, which each lane reads by itself.
fn shares_of_queries(at: array<u32, SHARES>, d: u32) -> u32 {
    return 0u;
}
fn query_$i_of(shares: u32, at: u32) -> vec4<f32> { return q[at]; }
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    begin_telling();
    tell(0u, bitcast<u32>(score), lanes);
    end_telling();
    var most = score;
    for (var lane = 0u; lane < WORKGROUP; lane++) {
        most = max(most, bitcast<f32>(told_by(lane, 0u, 0u)));
    }
    return most;
}
fn sum_of_lanes(number: f32, lanes: Lanes) -> f32 {
    begin_telling();
    tell(0u, bitcast<u32>(number), lanes);
    end_telling();
    var sum = 0.0;
    for (var lane = 0u; lane < WORKGROUP; lane++) {
        sum += bitcast<f32>(told_by(lane, 0u, 0u));
    }
    return sum;
}
