// scores[r, i] = logits[r, i] + bias[r, i], BANNED where the bias is BANNED; logits[r, i] where row r has no bias
//
// logits, scores, bias (rows, vocab), settings (rows). The scores are a copy, because log-probabilities are of the model's own logits.
// The bias of a row that has none is not read into its scores, so it need not be written.
struct AdjustParams {
    n: u32, // rows * vocab
    vocab: u32,
    pad1: u32,
    pad2: u32,
}
@group(0) @binding(0) var<uniform> params: AdjustParams;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<RowSettings>;
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn adjust(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = group_index(group, groups) * WORKGROUP + lane;
    if i >= params.n {
        return;
    }
    var score = logits[i];
    if settings[i / params.vocab].biased == 1u {
        let b = bias[i];
        score = select(score + b, BANNED, b == BANNED);
    }
    scores[i] = score;
}
