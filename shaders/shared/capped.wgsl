
// Scores that are bent to stay within `cap`: cap tanh(score / cap). A cap of 0 leaves them as they are.
// By exp of what is not above 0, because the tanh of some drivers overflows, and others have a rough one.
fn capped(score: vec4<f32>, cap: f32) -> vec4<f32> {
    if cap == 0.0 {
        return score;
    }
    let shrunk = exp(-2.0 / cap * abs(score));
    return select(vec4<f32>(cap), vec4<f32>(-cap), score < vec4<f32>()) * (1.0 - shrunk) / (1.0 + shrunk);
}
