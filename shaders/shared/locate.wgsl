
// Where a key lies. A place is the number of a (head_dim) row; this bit says that it lies in the chunk's scratch.
const IN_CHUNK: u32 = 0x80000000u;

// Slot in the pool of key number `key` of a row, or its chunk row marked with IN_CHUNK.
fn locate(row: Row, pinned: u32, anchors: u32, key: u32) -> u32 {
    if key < pinned {
        if key < params.chunk_start {
            return row.base + key;
        }
        return (key - params.chunk_start) | IN_CHUNK;
    }
    if key < pinned + anchors {
        let number = row.anchor_first + key - pinned;
        if number < params.chunk_anchors_before {
            return row.base + params.sinks + number % params.anchor_capacity;
        }
        return chunk_anchors[number - params.chunk_anchors_before] | IN_CHUNK;
    }
    let pos = row.live_first + key - pinned - anchors;
    if pos < params.chunk_start {
        return row.base + params.sinks + params.anchor_capacity + pos % params.live_capacity;
    }
    return (pos - params.chunk_start) | IN_CHUNK;
}
