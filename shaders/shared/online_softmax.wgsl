
// One query against many keys by online softmax (Milakov and Gimelshein, "Online normalizer calculation for softmax",
// 2018), a tile of WORKGROUP keys at a time: one lane scores one key, then every lane gathers its columns of the values.
//
// The kernel gives the tile's places: `place` is the number of a (head_dim) row in keys and values, NO_PLACE for none.
const NO_PLACE: u32 = 0xffffffffu;
// Finite, because a shader may assume that there is no infinity. Real scores lie far inside.
const LOWEST: f32 = -3.0e38;

var<workgroup> tile_place: array<u32, WORKGROUP>;
var<workgroup> tile_score: array<f32, WORKGROUP>;
var<workgroup> tile_weight: array<f32, WORKGROUP>;

struct Softmax {
    top: f32,         // largest score so far
    total: f32,       // sum of exp(score - top)
    values: vec4<f32>, // sum of exp(score - top) * value, columns lane, lane + WORKGROUP, ...
}

// Adds one tile. Must be called by the whole workgroup; `score` counts only where `place` is one.
fn add_tile(state: Softmax, lane: u32, place: u32, score: f32, head_dim: u32) -> Softmax {
    workgroupBarrier(); // the tile before may still be read
    tile_place[lane] = place;
    tile_score[lane] = select(LOWEST, score, place != NO_PLACE);
    workgroupBarrier();
    var top = state.top;
    for (var i = 0u; i < WORKGROUP; i++) {
        top = max(top, tile_score[i]);
    }
    tile_weight[lane] = select(0.0, exp(score - top), place != NO_PLACE);
    workgroupBarrier();
    let shrink = exp(state.top - top);
    var next = Softmax(top, state.total * shrink, state.values * shrink);
    for (var i = 0u; i < WORKGROUP; i++) {
        let here = tile_place[i];
        if here != NO_PLACE {
            let weight = tile_weight[i];
            next.total += weight;
            // Component by component: FXC, the compiler of DX12, refuses a store to one that a loop chooses.
            if lane < head_dim {
                next.values.x += weight * value_at(here, lane);
            }
            if lane + WORKGROUP < head_dim {
                next.values.y += weight * value_at(here, lane + WORKGROUP);
            }
            if lane + 2u * WORKGROUP < head_dim {
                next.values.z += weight * value_at(here, lane + 2u * WORKGROUP);
            }
            if lane + 3u * WORKGROUP < head_dim {
                next.values.w += weight * value_at(here, lane + 3u * WORKGROUP);
            }
        }
    }
    return next;
}
