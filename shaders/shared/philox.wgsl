
// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
// A number depends on key and counter alone, so there is no state to keep, to undo or to hand from step to step.

// a * b as (low, high) words; WGSL has no 64-bit product, so the high word is made of 16-bit halves.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    return vec2<u32>(a * b, a_high * b_high + (middle >> 16u) + (other >> 16u));
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let x = wide_product(0xd2511f53u, c.x);
        let z = wide_product(0xcd9e8d57u, c.z);
        c = vec4<u32>(z.y ^ c.y ^ key.x, z.x, x.y ^ c.w ^ key.y, x.x);
        key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}

// A number in [0, 1) for the token at `position`: the upper 24 bits, as many as a 32-bit float holds exactly.
fn uniform_at(position: u32, seed: vec2<u32>) -> f32 {
    return f32(philox(vec4<u32>(position, 0u, 0u, 0u), seed).x >> 8u) * 0x1p-24f;
}
