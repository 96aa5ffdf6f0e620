// Puts the rows of a prompt chunk that outlive it into their slots of the cache.
//
// k_chunk, v_chunk (rows, fours), k_cache, v_cache (slots, fours). The slots were chosen by `kv::Ring::chunk` so that no
// two rows share one: the copies may run in any order. One invocation copies four columns of a key and of a value,
// or a scale of each.
@group(0) @binding(0) var<uniform> params: KvWriteParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var<storage, read> k_chunk: array<KvFour>;
@group(0) @binding(3) var<storage, read> v_chunk: array<KvFour>;
@group(0) @binding(4) var<storage, read_write> k_cache: array<KvFour>;
@group(0) @binding(5) var<storage, read_write> v_cache: array<KvFour>;

fn copy(origin: u32, slot: u32, at: u32) {
    if slot != NO_SLOT {
        k_cache[slot * params.fours + at] = k_chunk[origin];
        v_cache[slot * params.fours + at] = v_chunk[origin];
    }
}

@compute @workgroup_size(WORKGROUP)
fn kv_write(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.rows * params.fours {
        return;
    }
    let row = rows[i / params.fours];
    copy(i, slot_in_pool(row, row.live_slot), i % params.fours);
    copy(i, slot_in_pool(row, row.anchor_slot), i % params.fours);
}
