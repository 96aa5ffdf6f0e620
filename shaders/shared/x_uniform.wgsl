
// A run of columns of an input in a uniform, from its `first`-th vec4 on: read by all lanes alike. Where NORM, normalized on the way
// (see x_rows).
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
var<private> squares: f32;
// From the `first`-th vec4 of the uniform on, which is the `column`-th of the input.
struct Share {
    first: u32,
    column: u32,
}
fn share_of_x(first: u32, column: u32, lanes: Lanes) -> Share {
    return Share(first + column, column);
}
#each $n
// Columns 4 $n to 4 $n + 3 of the run, in the unit in which the weights' numbers come.
fn x$n_of(share: Share) -> vec4<f32> {
    let v = x[share.first + $nu];
    let unit = FIRST_unit($nu);
    if NORM {
        squares += dot(v, v);
        return v * gain[share.column + $nu] * unit;
    }
    return v * unit;
}
#end
// The sum of the run.
fn total_of_x(share: Share) -> f32 {
    var sum = vec4<f32>();
    #each $n
    if NORM {
        sum += x[share.first + $nu] * gain[share.column + $nu];
    } else {
        sum += x[share.first + $nu];
    }
    #end
    return dot(sum, vec4<f32>(1.0));
}
// What the sums over x are to be multiplied with.
fn scale_of_x(lanes: Lanes) -> f32 {
    if NORM {
        return 1.0 / sqrt(squares / f32(params.cols4 * 4u) + params.eps);
    }
    return 1.0;
}
