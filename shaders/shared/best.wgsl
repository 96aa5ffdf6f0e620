
// The best of one candidate (key, id) per lane: the largest key, of equals the lowest id. WORKGROUP is a power of two.
const NOBODY = vec2<u32>(0u, 0xffffffffu); // worse than every number, whose key is never 0
var<workgroup> best_scratch: array<vec2<u32>, WORKGROUP>;
fn beats(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}
fn best_of_all(mine: vec2<u32>, lane: u32) -> vec2<u32> {
    workgroupBarrier(); // an earlier best may still be read
    best_scratch[lane] = mine;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lane < half && beats(best_scratch[lane + half], best_scratch[lane]) {
            best_scratch[lane] = best_scratch[lane + half];
        }
        workgroupBarrier();
    }
    return best_scratch[0];
}
