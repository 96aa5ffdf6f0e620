
struct StreamParams {
    count4: u32, // elements / 4
    lanes: u32,
    turns: u32,  // whole turns of four loads a lane
    pad0: u32,
}
