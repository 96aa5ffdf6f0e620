// Puts the rows of a prompt chunk that outlive it into their slots of the cache, where both lie in textures.
//
// k_chunk, v_chunk (rows, fours), k_cache, v_cache (slots, fours), four columns or a scale a texel. The slots were chosen by `kv::Ring::chunk`
// so that no two rows share one: the copies may run in any order. One invocation copies a texel of a key and of a value.
@group(0) @binding(0) var<uniform> params: KvWriteParams;
@group(0) @binding(1) var<storage, read> rows: array<Row>;
@group(0) @binding(2) var k_chunk: EntryTexels;
@group(0) @binding(3) var v_chunk: EntryTexels;
@group(0) @binding(4) var k_cache: texture_storage_2d<$format, write>;
@group(0) @binding(5) var v_cache: texture_storage_2d<$format, write>;

fn copy(origin: u32, slot: u32, at: u32) {
    if slot != NO_SLOT {
        let source = fold(origin, shift_of(textureDimensions(k_chunk)));
        let home = fold(slot * params.fours + at, shift_of(textureDimensions(k_cache)));
        textureStore(k_cache, home, textureLoad(k_chunk, source$level));
        textureStore(v_cache, home, textureLoad(v_chunk, source$level));
    }
}

@compute @workgroup_size(WORKGROUP)
fn kv_write_texels(
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
