
// Inputs in a storage buffer, of which each lane reads what it needs; where NORM, normalized on the way: RMSNorm (rms_norm.wgsl) needs
// the squares of all columns, which are summed while they are read, so its scale comes last.
var<private> squares: f32;
// Columns 4 c to 4 c + 3, times the gain. Each lane must read each of its columns once.
fn x_at(first: u32, c: u32) -> vec4<f32> {
    let v = x[first + c];
    if NORM {
        squares += dot(v, v);
        return v * gain[c];
    }
    return v;
}
// What the sums over x are to be multiplied with.
fn scale_of_x(lanes: Lanes) -> f32 {
    if NORM {
        let total = reduce_add4(vec4<f32>(squares, 0.0, 0.0, 0.0), lanes).x;
        return 1.0 / sqrt(total / f32(params.cols4 * 4u) + params.eps);
    }
    return 1.0;
}
