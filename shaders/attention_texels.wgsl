// One query row against everything it may see, where keys and values lie in textures.
//
//   out[r, h, :] = sum_j softmax_j(q[r, h, :] . k[j, :] * scale) v[j, :]
//
// What is seen, and in which order, is said in attention.wgsl. For software devices: the query in a uniform, keys and values in textures,
// eight keys at a time. Each lane scores one of them; then each lane gathers its own columns, texels lane + 8 $i of the head, by online
// softmax (Milakov and Gimelshein, 2018), for which every lane keeps the largest score and the total.
// A line with $i stands for one line for each of INPUTS texels.
//
// rows (rows), q (rows, 2, n_heads, head_dim) of the rows from row_first on, k_cache and v_cache (slots, n_kv_heads, head_dim),
// k_chunk and v_chunk (rows, n_kv_heads, head_dim), chunk_anchors (anchors in the chunk): their chunk rows,
// out (rows, n_heads, head_dim). One workgroup of eight lanes per row and head.
@group(0) @binding(0) var<uniform> params: AttentionParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<uniform> q: array<vec4<f32>, UNIFORM_LEN>;
@group(0) @binding(3) var k_cache: FloatTexels;
@group(0) @binding(4) var v_cache: FloatTexels;
@group(0) @binding(5) var k_chunk: FloatTexels;
@group(0) @binding(6) var v_chunk: FloatTexels;
@group(0) @binding(7) var<storage, read> chunk_anchors: array<u32>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>;

// Finite, because a shader may assume that there is no infinity. Real scores lie far inside.
const LOWEST: f32 = -3.0e38;

fn value_at(place: u32, d: u32, cache_shift: u32, chunk_shift: u32) -> vec4<f32> {
    let i = (place & ~IN_CHUNK) * (params.head_dim / 4u) + d;
    if (place & IN_CHUNK) != 0u {
        return textureLoad(v_chunk, fold(i, chunk_shift)$level);
    }
    return textureLoad(v_cache, fold(i, cache_shift)$level);
}

@compute @workgroup_size(WORKGROUP)
fn attention_texels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let i = group_index(group, groups);
    if i >= params.rows * params.n_heads {
        return;
    }
    let r = params.row_first + i / params.n_heads;
    let head = i % params.n_heads;
    let kv_head = head / (params.n_heads / params.n_kv_heads);
    let dim4 = params.head_dim / 4u;
    let row = rows[r];
    let pinned = row.pinned_end;
    let anchors = row.anchor_end - row.anchor_first;
    let keys = row.n_keys;
    let cache_shift = shift_of(textureDimensions(k_cache));
    let chunk_shift = shift_of(textureDimensions(k_chunk));

    var top = LOWEST;
    var total = 0.0;
    var value$i = vec4<f32>();
    for (var base = 0u; base < keys; base += 8u) {
        // A lane without a key reads the last one again, and gives it no weight.
        let seen = min(base + lane, keys - 1u);
        let slot = locate(row, pinned, anchors, seen);
        let place = ((slot & ~IN_CHUNK) * params.n_kv_heads + kv_head) | (slot & IN_CHUNK);
        // Keys of the pinned prefix are read by the query's second rotation.
        let rotation = i / params.n_heads * 2u + select(0u, 1u, seen < pinned);
        let query = params.q_at + (rotation * params.n_heads + head) * dim4;
        let at = (place & ~IN_CHUNK) * dim4;
        var sum = 0.0;
        if (place & IN_CHUNK) != 0u {
            for (var d = 0u; d < dim4; d++) {
                sum += dot(q[query + d], textureLoad(k_chunk, fold(at + d, chunk_shift)$level));
            }
        } else {
            for (var d = 0u; d < dim4; d++) {
                sum += dot(q[query + d], textureLoad(k_cache, fold(at + d, cache_shift)$level));
            }
        }
        let score = select(LOWEST, sum * params.scale, base + lane < keys);
        let best = max(top, most_of_lanes(score, lanes));
        let shrink = exp(top - best);
        top = best;
        let tile = tile_of(exp(score - best), place, lanes);
        total *= shrink;
        value$i *= shrink;
        // In a loop, because the text of all loads takes SwiftShader's compiler minutes and gigabytes.
        for (var key = 0u; key < 8u; key++) {
            let weight = weight_of(tile, key);
            let home = place_of(tile, key);
            total += weight;
            value$i += weight * value_at(home, lane + 8u * $iu, cache_shift, chunk_shift);
        }
    }

    let to = (r * params.n_heads + head) * dim4 + lane;
    if lane + 8u * $iu < dim4 { out[to + 8u * $iu] = value$i / total; }
}
