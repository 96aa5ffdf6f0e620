
// Textures read as storage textures.
alias WordTexels = texture_storage_2d<rgba32uint, read>;
alias FloatTexels = texture_storage_2d<rgba32float, read>;
// Of keys and values.
alias EntryTexels = texture_storage_2d<$format, read>;
