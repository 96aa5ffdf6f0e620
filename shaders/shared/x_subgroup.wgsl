
// Eight columns of an input, from the `first`-th vec4 of the uniform on: each of eight lanes reads one and hands it round.
// The workgroup must lie in one subgroup.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
fn eight_of_x(first: u32, lanes: Lanes) -> Eight {
    let lane = lanes.subgroup_lane & 7u;
    let mine = x[first + lane / 4u][lane % 4u];
    return Eight(
        vec4<f32>(
            subgroupBroadcast(mine, 0u),
            subgroupBroadcast(mine, 1u),
            subgroupBroadcast(mine, 2u),
            subgroupBroadcast(mine, 3u),
        ),
        vec4<f32>(
            subgroupBroadcast(mine, 4u),
            subgroupBroadcast(mine, 5u),
            subgroupBroadcast(mine, 6u),
            subgroupBroadcast(mine, 7u),
        ),
    );
}
