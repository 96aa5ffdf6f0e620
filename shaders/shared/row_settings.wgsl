
// What the sampler is told about one row of a step: `kernels::sample::RowSettings`, the same fields in the same order.
struct RowSettings {
    greedy: u32, // 1: the likeliest is taken
    top_k: u32,  // 0: off
    top_p: f32,  // 1: off
    inverse_temperature: f32,
    reach: f32,       // a score farther below the largest than this weighs nothing
    min_p_reach: f32, // one farther below than this falls to min-p
    seed_low: u32,
    seed_high: u32,
    biased: u32, // 1: there is a bias or a ban
    last_n: u32, // tokens that penalties look back at; 0: off
    repetition: f32,
    inverse_repetition: f32, // made by the host, so that it is rounded in one way everywhere
    frequency: f32,
    presence: f32,
    logprobs: u32, // likeliest tokens that are listed; 0: off
    pad0: u32,
}
