
// What the gate of a feed-forward block becomes: silu(a) = a / (1 + exp(-a)), or gelu(a) in its approximation by tanh,
// a (1 + tanh(u)) / 2 = a / (1 + exp(-2 u)) with u = sqrt(2 / pi) (a + 0.044715 a^3).
const GELU: u32 = 1u;

fn activated(a: vec4<f32>, kind: u32) -> vec4<f32> {
    if kind == GELU {
        // Beyond 9 it is a or zero in 32 bits, and the cube would overflow.
        let c = clamp(a, vec4<f32>(-9.0), vec4<f32>(9.0));
        return max(a, vec4<f32>(-9.0)) / (1.0 + exp(-1.5957691216 * (c + 0.044715 * c * c * c)));
    }
    // exp overflows past 88; below -80 the gate is zero in 32 bits.
    let c = max(a, vec4<f32>(-80.0));
    return c / (1.0 + exp(-c));
}
