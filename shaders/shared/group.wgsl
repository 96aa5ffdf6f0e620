
// Number of this workgroup in a dispatch that was spread over x and y because x alone allows 65,535.
fn group_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.y * count.x + id.x;
}
