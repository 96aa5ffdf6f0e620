
// Eight lanes tell each other what each has found for its key. The workgroup must lie in one subgroup.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
}
struct Tile {
    weight: f32,
    place: u32,
}
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    var most = score;
    most = max(most, subgroupBroadcast(score, $ru));
    return most;
}
fn tile_of(weight: f32, place: u32, lanes: Lanes) -> Tile {
    return Tile(weight, place);
}
fn weight_of(tile: Tile, key: u32) -> f32 {
    return subgroupShuffle(tile.weight, key);
}
fn place_of(tile: Tile, key: u32) -> u32 {
    return subgroupShuffle(tile.place, key);
}
