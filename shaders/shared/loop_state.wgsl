
// Where the decode loop stands: `kernels::emit::LoopState`, the same fields in the same order.
struct LoopState {
    emitted: u32, // tokens handed out since the loop began
    budget: u32,  // tokens after which it stops
    stopped: u32, // RUNNING, or why it stopped
    pad0: u32,
}
const RUNNING: u32 = 0u;
