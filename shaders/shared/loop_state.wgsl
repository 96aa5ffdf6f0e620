
// How far a generation is.
struct LoopState {
    emitted: u32, // tokens given out so far
    budget: u32,  // most tokens to give out
    stopped: u32, // not 0: the text has ended
    pad0: u32,
}
