
// Sum over the workgroup: inside each subgroup at once, then over the few subgroup sums.
// Any subgroup size works: of one wider than the workgroup, the lanes that are not there add nothing.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}
var<workgroup> reduce_scratch: array<vec4<f32>, WORKGROUP>;
fn reduce_add4(value: vec4<f32>, lanes: Lanes) -> vec4<f32> {
    let subgroup_sum = subgroupAdd(value);
    workgroupBarrier(); // an earlier sum may still be read
    if lanes.subgroup_lane == 0u {
        reduce_scratch[lanes.subgroup] = subgroup_sum;
    }
    workgroupBarrier();
    var total = reduce_scratch[0];
    for (var i = 1u; i < lanes.subgroups; i++) {
        total += reduce_scratch[i];
    }
    return total;
}
