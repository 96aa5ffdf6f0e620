
// Sum over the workgroup by a tree in workgroup memory. WORKGROUP is a power of two.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
var<workgroup> reduce_scratch: array<vec4<f32>, WORKGROUP>;
fn reduce_add4(value: vec4<f32>, lanes: Lanes) -> vec4<f32> {
    workgroupBarrier(); // an earlier sum may still be read
    reduce_scratch[lanes.index] = value;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
        if lanes.index < half {
            reduce_scratch[lanes.index] += reduce_scratch[lanes.index + half];
        }
        workgroupBarrier();
    }
    return reduce_scratch[0];
}
