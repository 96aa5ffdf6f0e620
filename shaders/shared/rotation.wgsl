
// (cos, sin) of the angle that pair `i` of columns has turned by at `pos`, of the two halves of `table`: steps of 1, steps of 1,024.
const TABLE_STEP: u32 = 1024u;

fn rotation(pos: u32, i: u32) -> vec2<f32> {
    let turning = params.rope_dim / 2u;
    if i >= turning {
        return vec2<f32>(1.0, 0.0);
    }
    let fine = table[(pos % TABLE_STEP) * turning + i];
    let coarse = table[(TABLE_STEP + pos / TABLE_STEP) * turning + i];
    return vec2<f32>(coarse.x * fine.x - coarse.y * fine.y, coarse.y * fine.x + coarse.x * fine.y);
}
