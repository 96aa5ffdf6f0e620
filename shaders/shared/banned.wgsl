
// The score of a token that must not be drawn: `sampling::BANNED`. Finite, because a shader may assume that there is
// no infinity; no score of a model comes near it.
const BANNED: f32 = -3.0e38;
