// Several queries against all that they may see, where keys and values lie in textures.
//
//   out[r, h, :] = sum_j softmax_j(capped(q[r, h, :] . k[j, :] * scale)) v[j, :]
//
// What is seen, and in which order, is said in attention.wgsl. For software devices, where loads decide: a key or a value that was loaded
// serves all queries of a workgroup. These are INPUTS of those that read the same head of the same text: of the heads that share it, and in
// a chunk of the rows. Their rows see nearly the same keys, so the workgroup walks what any of them sees, and each query skips the rest.
//
// Each lane scores four keys at a time; then it gathers columns of its own, texels lane + WORKGROUP $c of the head, by online softmax
// (Milakov and Gimelshein, 2018), for which it is told the weights and the places of all lanes' keys.
// A line with $i stands for one line for each of INPUTS queries, one with $s for each of a lane's four keys, one with $c for each of TEXELS
// texels; the lines from #lanes to #end are walked for each lane, which $k names.
//
// rows (rows), q (rows, 2, n_heads, head_dim) of the rows from row_first on, k_cache and v_cache (slots, n_kv_heads, head_dim),
// k_chunk and v_chunk (rows, n_kv_heads, head_dim), chunk_anchors (anchors in the chunk): their chunk rows,
// out (rows, n_heads, head_dim).
@group(0) @binding(0) var<uniform> params: AttentionParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<uniform> q: array<vec4<f32>, UNIFORM_LEN>;
@group(0) @binding(3) var k_cache: EntryTexels;
@group(0) @binding(4) var v_cache: EntryTexels;
@group(0) @binding(5) var k_chunk: EntryTexels;
@group(0) @binding(6) var v_chunk: EntryTexels;
@group(0) @binding(7) var<storage, read> chunk_anchors: array<u32>;
@group(0) @binding(8) var<storage, read_write> out: array<vec4<f32>>;

// Queries that a lane reads for all, where lanes hand them round.
const SHARES: u32 = (INPUTS + WORKGROUP - 1u) / WORKGROUP;

// Finite, because a shader may assume that there is no infinity. Real scores lie far inside.
const LOWEST: f32 = -3.0e38;

fn key_at(place: u32, d: u32, cache_shift: u32, chunk_shift: u32) -> KvTexel {
    let i = (place & ~IN_CHUNK) + d;
    if (place & IN_CHUNK) != 0u {
        return textureLoad(k_chunk, fold(i, chunk_shift)$level);
    }
    return textureLoad(k_cache, fold(i, cache_shift)$level);
}

// Where query `n` of those of a key's head lies, rotated as the keys want it.
fn query_at(n: u32, first_row: u32, kv_head: u32, in_prefix: bool) -> u32 {
    let sharing = params.n_heads / params.n_kv_heads;
    let copy = 2u * (first_row + n / sharing) + u32(in_prefix);
    return params.q_at + (copy * params.n_heads + kv_head * sharing + n % sharing) * (params.head_dim / 4u);
}

fn value_at(place: u32, d: u32, cache_shift: u32, chunk_shift: u32) -> KvTexel {
    let i = (place & ~IN_CHUNK) + d;
    if (place & IN_CHUNK) != 0u {
        return textureLoad(v_chunk, fold(i, chunk_shift)$level);
    }
    return textureLoad(v_cache, fold(i, cache_shift)$level);
}

@compute @workgroup_size(WORKGROUP)
fn attention_texels(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let sharing = params.n_heads / params.n_kv_heads; // heads that read the same keys
    let queries = params.rows_of_text * sharing;
    let tiles = (queries + INPUTS - 1u) / INPUTS;
    let i = group_index(group, groups);
    let text = i / (tiles * params.n_kv_heads);
    if text * params.rows_of_text >= params.rows {
        return;
    }
    let kv_head = i / tiles % params.n_kv_heads;
    let dim4 = params.head_dim / 4u;
    // What any of the rows sees, and each by itself. In a loop: as text, the loads of eight rows take lavapipe's compiler a second.
    let first_row = params.row_first + text * params.rows_of_text;
    let first = i % tiles * INPUTS;
    var all = rows[first_row + first / sharing];
    if params.near != 0u {
        all.anchor_first = all.near_anchor;
        all.live_first = max(all.live_first, all.near_first);
    }
    var sight: array<vec4<u32>, INPUTS>; // first and end of its anchors, first and end of its live keys
    var prefix: array<vec2<u32>, INPUTS>; // first of its pinned keys, and how many
    var start = all.pinned_end;
    for (var j = 0u; j < INPUTS; j++) {
        // A tile that is not full makes its last query several times.
        var one = rows[first_row + min(first + j, queries - 1u) / sharing];
        // A layer without a window of its own has none anywhere.
        let near_first = select(0u, one.near_first, params.near != 0u);
        one.anchor_first = select(one.anchor_first, one.near_anchor, params.near != 0u);
        one.live_first = max(one.live_first, near_first);
        let pinned_first = min(near_first, one.pinned_end);
        sight[j] = vec4<u32>(one.anchor_first, one.anchor_end, one.live_first, one.pos + 1u);
        prefix[j] = vec2<u32>(pinned_first, one.pinned_end - pinned_first);
        start = min(start, pinned_first);
        all.pinned_end = max(all.pinned_end, one.pinned_end);
        all.anchor_first = min(all.anchor_first, one.anchor_first);
        all.anchor_end = max(all.anchor_end, one.anchor_end);
        all.live_first = min(all.live_first, one.live_first);
        all.pos = max(all.pos, one.pos);
    }
    let query$i = min(first + $iu, queries - 1u);
    let r$i = text * params.rows_of_text + query$i / sharing;
    let head$i = kv_head * sharing + query$i % sharing;
    let pinned = all.pinned_end;
    let anchors = all.anchor_end - all.anchor_first;
    let live = pinned + anchors;
    let keys = live + (max(all.pos + 1u, all.live_first) - all.live_first);
    let cache_shift = shift_of(textureDimensions(k_cache));
    let chunk_shift = shift_of(textureDimensions(k_chunk));

    var top$i = LOWEST;
    var total$i = 0.0;
    var value$i_$c = vec4<f32>();
    var base = start;
    while base < keys {
        // Keys of the pinned prefix are read by the query's second rotation, so no tile has others beside them.
        let in_prefix = base < pinned;
        let end = select(keys, pinned, in_prefix);
        // Each by itself, and those that this lane reads for all.
        let at$i = query_at(query$i, text * params.rows_of_text, kv_head, in_prefix);
        var my_queries: array<u32, SHARES>;
        for (var j = 0u; j < SHARES; j++) {
            let mine = min(first + min(j * WORKGROUP + lane, INPUTS - 1u), queries - 1u);
            my_queries[j] = query_at(mine, text * params.rows_of_text, kv_head, in_prefix);
        }
        let key = vec4<u32>(base + lane) + WORKGROUP * vec4<u32>(0u, 1u, 2u, 3u);
        // A lane without a key reads the last one again, and gives it no weight.
        var place: array<u32, 4>;
        for (var s = 0u; s < 4u; s++) {
            let slot = locate(all, pinned, anchors, min(base + lane + WORKGROUP * s, end - 1u));
            place[s] = (((slot & ~IN_CHUNK) * params.n_kv_heads + kv_head) * (dim4 + SCALE_FOURS)) | (slot & IN_CHUNK);
        }

        // Whole heads are scaled, so each key is once, and each value with its weight. The scales are loaded first: they lie where heads
        // end, which brings the lines of all lanes into the processor's cache at once. Later, each lane would wait for its own.
        var scale_of_keys = vec4<f32>(1.0);
        if SCALED {
            let scale$s = scale_of_texel(key_at(place[$s], dim4, cache_shift, chunk_shift));
            scale_of_keys = vec4<f32>(scale0, scale1, scale2, scale3);
        }
        var score$i = vec4<f32>();
        for (var d = 0u; d < dim4; d++) {
            let k$s = vec4<f32>(key_at(place[$s], d, cache_shift, chunk_shift));
            let shares = shares_of_queries(my_queries, d);
            let q$i = query_$i_of(shares, at$i + d);
            score$i += vec4<f32>(dot(q$i, k0), dot(q$i, k1), dot(q$i, k2), dot(q$i, k3));
        }
        if SCALED { score$i *= scale_of_keys; }

        // The keys by their numbers in their ranges, and which of them each query sees.
        let is_live = key >= vec4<u32>(live);
        let number = select(key - pinned + all.anchor_first, key - live + all.live_first, is_live);
        let low$i = select(vec4<u32>(sight[$i].x), vec4<u32>(sight[$i].z), is_live);
        let high$i = select(vec4<u32>(sight[$i].y), vec4<u32>(sight[$i].w), is_live);
        let sees$i = select((number >= low$i) & (number < high$i), key - prefix[$i].x < vec4<u32>(prefix[$i].y), in_prefix) & (key < vec4<u32>(end));
        score$i = select(vec4<f32>(LOWEST), capped(score$i * params.scale, params.cap), sees$i);

        let before$i = top$i;
        top$i = max(top$i, most_of_lanes(max(max(score$i.x, score$i.y), max(score$i.z, score$i.w)), lanes));
        let shrink$i = exp(before$i - top$i);
        let weight$i = select(vec4<f32>(), exp(score$i - top$i), sees$i);
        total$i = total$i * shrink$i + dot(weight$i, vec4<f32>(1.0));
        value$i_$c *= shrink$i;

        let turns = (min(end - base, 4u * WORKGROUP) + WORKGROUP - 1u) / WORKGROUP;
        for (var turn = 0u; turn < turns; turn++) {
            let mine = place[turn];
            var scale = 1.0;
            if SCALED {
                scale = scale_of_texel(value_at(mine, dim4, cache_shift, chunk_shift));
            }
            let mine$i = bitcast<u32>(weight$i[turn] * scale);
            begin_telling();
            tell(0u, mine, lanes);
            tell(1u + $iu, mine$i, lanes);
            end_telling();
            #lanes
            let home = told$k(0u, mine);
            let v$c = vec4<f32>(value_at(home, lane + WORKGROUP * $cu, cache_shift, chunk_shift));
            let w$i = bitcast<f32>(told$k(1u + $iu, mine$i));
            value$i_$c += w$i * v$c;
            #end
        }
        base = min(base + 4u * WORKGROUP, end);
    }

    let sum$i = sum_of_lanes(total$i, lanes);
    // In a loop, as in matmul_texels: many stores are long text for a software device's compiler.
    var made: array<vec4<f32>, INPUTS * TEXELS>;
    made[$iu * TEXELS + $cu] = value$i_$c / sum$i;
    var homes: array<u32, INPUTS>;
    homes[$iu] = ((params.row_first + r$i) * params.n_heads + head$i) * dim4 + lane;
    for (var j = 0u; j < INPUTS * TEXELS; j++) {
        let query = j / TEXELS;
        let column = WORKGROUP * (j % TEXELS);
        if i % tiles * INPUTS + query < queries && lane + column < dim4 {
            out[homes[query] + column] = made[j];
        }
    }
}
