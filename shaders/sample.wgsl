// out[r] = one id, drawn with probability proportional to exp((scores[r, id] - largest) / temperature) among the ids kept,
// NOT_FINITE where a score is not finite; of a greedy row the likeliest, of equals the lowest, as `argmax` takes it
//
// Row r is of the text that loop_state[r] names, and drawn as settings[r] says. scores (rows, vocab), state (texts): the position of the
// token to be drawn is its counter, loop_state (rows), settings (rows), out (rows). One workgroup a row.
//
// What is kept is everything from some score on, `least`, in the integer order of order.wgsl. It only ever rises:
//   1. at first, to where a weight is still a number; this leaves banned tokens behind;
//   2. top-k: to the largest threshold that k scores reach;
//   3. top-p: to the largest threshold that the share p of the remaining weight reaches;
//   4. min-p: to where a weight is min_p of the largest.
// Equal scores share their fate, so nothing depends on a sort. At last the draw walks the kept ids, lane by lane.
struct SampleParams {
    vocab: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: SampleParams;
@group(0) @binding(1) var<storage, read> scores: array<f32>;
@group(0) @binding(2) var<storage, read> state: array<RingState>;
@group(0) @binding(3) var<storage, read> loop_state: array<LoopState>;
@group(0) @binding(4) var<storage, read> settings: array<RowSettings>;
@group(0) @binding(5) var<storage, read_write> out: array<u32>;

var<workgroup> lane_weight: array<f32, WORKGROUP>;

// What the scores of a row are measured by.
struct Scale {
    row: u32, // where its scores begin
    largest: f32,
    inverse_temperature: f32,
}

fn weight(score: f32, scale: Scale) -> f32 {
    return exp((score - scale.largest) * scale.inverse_temperature);
}

// The largest key that `goal` of what is kept of the row reaches, counted in ids or in weight; 0 if not even all of it is enough.
// Two bits at a time: of three candidates for the next larger key, each reached by fewer, as many hold as the digit says.
fn reached_by(goal: f32, by_weight: bool, least: u32, scale: Scale, lanes: Lanes) -> u32 {
    var found = 0u;
    for (var digit = 0u; digit < 16u; digit++) {
        let step = 1u << (30u - 2u * digit);
        let candidates = found + step * vec3<u32>(1u, 2u, 3u);
        var mine = vec3<f32>();
        for (var id = lanes.index; id < params.vocab; id += WORKGROUP) {
            let key = order_key(scores[scale.row + id]);
            if key >= max(least, candidates.x) {
                var amount = 1.0;
                if by_weight {
                    amount = weight(scores[scale.row + id], scale);
                }
                mine += select(vec3<f32>(), vec3<f32>(amount), vec3<u32>(key) >= candidates);
            }
        }
        let all = reduce_add4(vec4<f32>(mine, 0.0), lanes);
        found += step * (u32(all.x >= goal) + u32(all.y >= goal) + u32(all.z >= goal));
    }
    return found;
}

// The weight of the kept ids that this lane owns: lane, lane + WORKGROUP, ... so that lanes side by side read side by side.
fn weigh(least: u32, scale: Scale, lane: u32) -> f32 {
    var sum = 0.0;
    for (var id = lane; id < params.vocab; id += WORKGROUP) {
        if order_key(scores[scale.row + id]) >= least {
            sum += weight(scores[scale.row + id], scale);
        }
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn sample(@builtin(workgroup_id) group: vec3<u32>, lanes: Lanes) {
    let lane = lanes.index;
    let r = group.x;
    let row = r * params.vocab;

    // The largest score. One that is not finite would be it.
    var mine = NOBODY;
    for (var id = lane; id < params.vocab; id += WORKGROUP) {
        let key = order_key(scores[row + id]);
        if key > mine.x {
            mine = vec2<u32>(key, id); // of equals the first that this lane meets, which is its lowest
        }
    }
    let best = best_of_all(mine, lane);
    // These two are the same for all lanes of the workgroup.
    if settings[r].greedy == 1u {
        if lane == 0u {
            out[r] = select(best.y, NOT_FINITE, best.x == NOT_FINITE);
        }
        return;
    }
    let scale = Scale(row, number_of(best.x), settings[r].inverse_temperature);

    // What is kept.
    var least = order_key(scale.largest - settings[r].reach);
    if settings[r].top_k > 0u {
        least = max(least, reached_by(f32(settings[r].top_k), false, least, scale, lanes));
    }
    if settings[r].top_p < 1.0 {
        let total = reduce_add4(vec4<f32>(weigh(least, scale, lane), 0.0, 0.0, 0.0), lanes).x;
        least = max(least, reached_by(settings[r].top_p * total, true, least, scale, lanes));
    }
    least = max(least, order_key(scale.largest - settings[r].min_p_reach));

    // The draw: the first id, in the order (lane, id), at which the weight walked past exceeds a random share of it.
    lane_weight[lane] = weigh(least, scale, lane);
    workgroupBarrier();
    if lane > 0u {
        return;
    }
    var total = 0.0;
    for (var l = 0u; l < WORKGROUP; l++) {
        total += lane_weight[l];
    }
    let seed = vec2<u32>(settings[r].seed_low, settings[r].seed_high);
    let goal = uniform_at(state[loop_state[r].text].pos, seed) * total;
    var passed = 0.0;
    var owner = 0u;
    for (var l = 0u; l < WORKGROUP; l++) {
        if lane_weight[l] > 0.0 {
            owner = l; // never a lane that owns nothing, should rounding let the sum fall short of the goal
            if passed + lane_weight[l] > goal {
                break;
            }
            passed += lane_weight[l];
        }
    }
    var drawn = NOT_FINITE;
    for (var id = owner; id < params.vocab; id += WORKGROUP) {
        if order_key(scores[row + id]) >= least {
            drawn = id; // the owner's last one, should rounding let the sum fall short of the goal
            passed += weight(scores[row + id], scale);
            if passed > goal {
                break;
            }
        }
    }
    out[r] = select(drawn, NOT_FINITE, best.x == NOT_FINITE);
}
