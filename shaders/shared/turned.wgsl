
// Columns of a head turned by a position, four at a time: see rope.wgsl. Of each column it reads the column that it is paired with.
// Column `c` of the head that begins at `origin`, turned by the position.
fn turned(origin: u32, c: u32, pos: u32) -> f32 {
    let x = qkv[origin + c];
    let turning = params.rope_dim / 2u;
    if c >= params.rope_dim {
        return x;
    }
    if c < turning {
        let turn = rotation(pos, c);
        return x * turn.x - qkv[origin + c + turning] * turn.y;
    }
    let turn = rotation(pos, c - turning);
    return qkv[origin + c - turning] * turn.y + x * turn.x;
}

fn turned4(origin: u32, c: u32, pos: u32) -> vec4<f32> {
    return vec4<f32>(
        turned(origin, c, pos),
        turned(origin, c + 1u, pos),
        turned(origin, c + 2u, pos),
        turned(origin, c + 3u, pos),
    );
}
