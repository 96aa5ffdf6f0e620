
// Eight lanes tell each other what each has found for its key, through workgroup memory.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
var<workgroup> tile_number: array<f32, 8>;
var<workgroup> tile_place: array<u32, 8>;
// A stand-in: what was told lies in workgroup memory.
alias Tile = u32;
// The largest of all lanes' scores.
fn most_of_lanes(score: f32, lanes: Lanes) -> f32 {
    workgroupBarrier(); // the tile before may still be read
    tile_number[lanes.index] = score;
    workgroupBarrier();
    var most = score;
    for (var key = 0u; key < 8u; key++) {
        most = max(most, tile_number[key]);
    }
    return most;
}
fn tile_of(weight: f32, place: u32, lanes: Lanes) -> Tile {
    workgroupBarrier();
    tile_number[lanes.index] = weight;
    tile_place[lanes.index] = place;
    workgroupBarrier();
    return 0u;
}
fn weight_of(tile: Tile, key: u32) -> f32 {
    return tile_number[key];
}
fn place_of(tile: Tile, key: u32) -> u32 {
    return tile_place[key];
}
