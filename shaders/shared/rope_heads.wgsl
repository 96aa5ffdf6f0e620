
// Rotation of whole heads, for those who keep a head as signed bytes and their scale: see rope.wgsl. The scale is a number of the whole
// head, so a workgroup makes one. The kernel says where its pieces go: `put_key` and `put_value` of a slot, from piece `at` of it on.
const MOST_FOURS: u32 = 64u; // of a head
// The largest byte. The scale is a product, which rounds alike everywhere; a division need not.
const MOST_BYTE: f32 = 127.0;
// A head with no number of this size is kept as zeros: its scale would be no normal number.
const LEAST: u32 = 0x0da24260u; // 1e-30
// 2^126, about 8.5e37: beyond it a division may come to nothing. Infinity and what is no number lie above it too.
const MOST_SIZE: u32 = 0x7e800000u;
const BROKEN: u32 = 0x7fc00000u;

var<workgroup> head_columns: array<vec4<f32>, MOST_FOURS>;
var<workgroup> largest_of_lane: array<u32, WORKGROUP>;

// The bits of the largest absolute value: for floats without a sign the order of the bits is that of the numbers, and what is no number
// is above all of them.
fn largest_of(x: vec4<f32>) -> u32 {
    let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}

// Head number `i` of all rows. Must be called by the whole workgroup.
fn rotate_head(i: u32, lane: u32) {
    let dim4 = params.head_dim / 4u;
    let heads = params.n_heads + 2u * params.n_kv_heads;
    if i >= params.rows * heads {
        return;
    }
    let r = i / heads;
    let head = i % heads;
    let row = rows[r];
    let origin = i * params.head_dim;

    if head < params.n_heads {
        let width = params.n_heads * dim4;
        let to = r * 2u * width + head * dim4;
        for (var d = lane; d < dim4; d += WORKGROUP) {
            q[to + d] = turned4(origin, 4u * d, row.pos);
            q[to + width + d] = turned4(origin, 4u * d, row.pinned_query_pos);
        }
        return;
    }

    let is_key = head < params.n_heads + params.n_kv_heads;
    var largest = 0u;
    for (var d = lane; d < dim4; d += WORKGROUP) {
        let first = origin + 4u * d;
        var columns = vec4<f32>(qkv[first], qkv[first + 1u], qkv[first + 2u], qkv[first + 3u]);
        if is_key {
            columns = turned4(origin, 4u * d, row.pos);
        }
        head_columns[d] = columns; // read by the same lane only
        largest = max(largest, largest_of(columns));
    }
    largest_of_lane[lane] = largest;
    workgroupBarrier();
    for (var other = 0u; other < WORKGROUP; other++) {
        largest = max(largest, largest_of_lane[other]);
    }
    // What is no number must not end as one: the scale tells every reader.
    var scale = BROKEN;
    var factor = 0.0;
    if largest < LEAST {
        scale = 0u;
    } else if largest <= MOST_SIZE {
        scale = bitcast<u32>(bitcast<f32>(largest) * (1.0 / MOST_BYTE));
        factor = MOST_BYTE / bitcast<f32>(largest);
    }

    var home = r;
    var second = NO_SLOT;
    if params.to_cache != 0u {
        home = slot_in_pool(row, row.live_slot);
        second = slot_in_pool(row, row.anchor_slot);
    }
    let kv_head = (head - params.n_heads) % params.n_kv_heads;
    let at = kv_head * (dim4 + SCALE_FOURS);
    for (var d = lane; d < dim4 + SCALE_FOURS; d += WORKGROUP) {
        var piece = scale;
        if d < dim4 {
            // Of a broken head the bytes say nothing, but they are the same everywhere.
            piece = 0u;
            if scale != BROKEN {
                piece = encoded(head_columns[d] * factor);
            }
        }
        if is_key {
            if home != NO_SLOT { put_key(home, at + d, piece); }
            if second != NO_SLOT { put_key(second, at + d, piece); }
        } else {
            if home != NO_SLOT { put_value(home, at + d, piece); }
            if second != NO_SLOT { put_value(second, at + d, piece); }
        }
    }
}
