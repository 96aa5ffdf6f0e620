
// Rows of weights cut into runs of FOURS times four columns, and x likewise.
fn runs_of_row() -> u32 {
    return (params.cols4 + FOURS - 1u) / FOURS;
}
// Columns 4 n to 4 n + 3 of run `run` of x. Blocks are whole; a last run of floats may go on behind the row, where x may be no number.
fn run_of_x(first: u32, run: u32, n: u32) -> vec4<f32> {
    let c = run * FOURS + n;
    if FOURS == 8u || c < params.cols4 {
        return x_at(first, c);
    }
    return vec4<f32>();
}
