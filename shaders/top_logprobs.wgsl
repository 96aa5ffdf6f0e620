// entry = (chosen id, its log-probability), then (id, log-probability) of the n likeliest
//         log-probability = logits[id] - log(sum_c exp(logits[c]))
//
// logits (rows, vocab): the model's own, chosen (rows), loop_state (rows), settings (rows): n by row, and a row with none has no entry,
// out (rows, capacity, 2 * (MAX_LOGPROBS + 1)): log-probabilities as the bits of floats; the entry written is `emitted mod capacity`,
// and of it the first 2 * (n + 1) words. Equally likely ids come in ascending order. One workgroup a row, which looks for the best n
// times. Where a logit is not finite the numbers mean nothing; the chosen id says so.
struct TopLogprobsParams {
    vocab: u32,
    capacity: u32,
    pad0: u32,
    pad1: u32,
}
@group(0) @binding(0) var<uniform> params: TopLogprobsParams;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> chosen: array<u32>;
@group(0) @binding(3) var<storage, read> loop_state: array<LoopState>;
@group(0) @binding(4) var<storage, read> settings: array<RowSettings>;
@group(0) @binding(5) var<storage, read_write> out: array<u32>;

const MAX_LOGPROBS: u32 = 20u;

// The best of all that come after `last`.
fn best_after(last: vec2<u32>, row: u32, lane: u32) -> vec2<u32> {
    var best = NOBODY;
    for (var id = lane; id < params.vocab; id += WORKGROUP) {
        let candidate = vec2<u32>(order_key(logits[row + id]), id);
        if beats(last, candidate) && beats(candidate, best) {
            best = candidate;
        }
    }
    return best_of_all(best, lane);
}

@compute @workgroup_size(WORKGROUP)
fn top_logprobs(@builtin(workgroup_id) group: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let r = group.x;
    let n = min(settings[r].logprobs, MAX_LOGPROBS);
    if n == 0u {
        return; // the same for all lanes of the workgroup
    }
    let row = r * params.vocab; // where its logits begin
    var best = best_after(vec2<u32>(NOT_FINITE, 0u), row, lane);
    let largest = number_of(best.x);
    var sum = 0.0;
    for (var id = lane; id < params.vocab; id += WORKGROUP) {
        sum += exp(logits[row + id] - largest);
    }
    let log_total = log(reduce_add4(vec4<f32>(sum, 0.0, 0.0, 0.0), lanes).x);
    let entry = (r * params.capacity + loop_state[r].emitted % params.capacity) * 2u * (MAX_LOGPROBS + 1u);
    if lane == 0u {
        let id = min(chosen[r], params.vocab - 1u);
        out[entry] = chosen[r];
        out[entry + 1u] = bitcast<u32>(logits[row + id] - largest - log_total);
    }
    for (var rank = 1u; rank <= n; rank++) {
        if rank > 1u {
            best = best_after(best, row, lane);
        }
        if lane == 0u {
            out[entry + 2u * rank] = best.y;
            out[entry + 2u * rank + 1u] = bitcast<u32>(number_of(best.x) - largest - log_total);
        }
    }
}
