
// Eight columns of an input, from the `first`-th vec4 of the uniform on: read by all lanes alike.
struct Lanes {
    @builtin(local_invocation_index) index: u32,
}
fn eight_of_x(first: u32, lanes: Lanes) -> Eight {
    return Eight(x[first], x[first + 1u]);
}
