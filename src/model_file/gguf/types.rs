//! The numbers of `ggml_type`: those that are read, and the names of those that are not, for messages.

use crate::model_file::dtype::Dtype;

/// What was taken out of the format again, so that no current program reads it; the weights have to be made anew.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// What other programs read and this one does not.
const UNREAD: [(u32, &str); 20] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// What the fork of llama.cpp for BitNet means by numbers that the format has given to others.
const BITNET: [(u32, &str); 4] = [(36, "I2_S"), (37, "I8_S"), (38, "TL1"), (39, "TL2")];

/// From here on a fork of llama.cpp, `ik_llama.cpp`, numbers types of its own.
const FORK: u32 = 97;

/// The data type with a number of `ggml_type`, or what is known of one that this reader does not know.
pub(super) fn of(id: u32) -> Result<Dtype, String> {
    let named =
        |list: &[(u32, &'static str)]| list.iter().find(|(number, _)| *number == id).map(|(_, name)| *name);
    if let Some(dtype) = Dtype::ALL.into_iter().find(|dtype| dtype.ggml_type() == id) {
        return Ok(dtype);
    }
    let in_bitnet = named(&BITNET).map_or_else(String::new, |name| {
        format!(" (or {name}, if the file is BitNet's, which only bitnet.cpp reads)")
    });
    Err(if let Some(name) = named(&UNREAD) {
        format!("{name}{in_bitnet}")
    } else if let Some(name) = named(&REMOVED) {
        let instead = match name {
            _ if name.starts_with("Q4_0") => "Q4_0, which programs pack so by themselves now",
            _ if name.starts_with("IQ4_NL") => "IQ4_NL, which programs pack so by themselves now",
            _ => "Q4_0 or Q4_K",
        };
        format!(
            "{name} (number {id}), which was removed from the format{in_bitnet}; get the model in {instead}"
        )
    } else if (FORK..1000).contains(&id) {
        format!("number {id}, which only ik_llama.cpp has")
    } else {
        format!("number {id}, which is newer than this reader or no data type at all")
    })
}
