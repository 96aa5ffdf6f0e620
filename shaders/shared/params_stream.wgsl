
// What the two implementations of `stream` are told.
struct StreamParams {
    count4: u32,  // elements / 4
    lanes: u32,
    width: u32,   // lanes that read side by side
    stretch: u32, // vectors that they read, a multiple of width
}
