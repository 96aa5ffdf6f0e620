
// Where the decode loop stands with one text, which row r of a step belongs to: `kernels::emit::LoopState`, the same fields in the same
// order.
struct LoopState {
    emitted: u32, // tokens handed out since the loop began
    budget: u32,  // tokens after which it stops
    stopped: u32, // RUNNING, or why it stopped
    text: u32,    // which of its pool
}
const RUNNING: u32 = 0u;
