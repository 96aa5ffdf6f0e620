
// A run of columns of an input, from the `first`-th vec4 of the uniform on: read by all lanes alike.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
alias Share = u32;
fn share_of_x(first: u32, lanes: Lanes) -> Share {
    return first;
}
// Columns 4 $n to 4 $n + 3 of the run.
#each $n
fn x$n_of(share: Share) -> vec4<f32> {
    return x[share + $nu];
}
#end
// The sum of the run.
fn total_of_x(share: Share) -> f32 {
    var sum = vec4<f32>();
    sum += x[share + $nu];
    return dot(sum, vec4<f32>(1.0));
}
