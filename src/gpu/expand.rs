//! Repeated lines in the text of a shader.
//!
//! Software devices want text instead of loops: there, reading an element of an array by an index that is known only while the shader runs
//! costs as much as the arithmetic. So a line of code that has one of these names stands for as many lines, with a number in its place:
//!
//! | Name | Stands for |
//! |---|---|
//! | `$r` | a lane's rows of a tile of weights, eight |
//! | `$i` | inputs or queries: [`Counts::inputs`] |
//! | `$n` | the fours of columns that a part reads at once: [`Counts::fours`] |
//! | `$c` | the texels of a head that a lane gathers: [`Counts::texels`] |
//! | `$s` | a lane's keys, or parts of a step of columns, four |
//! | `$k` | lanes of a workgroup: [`Counts::lanes`] |
//!
//! Lines from `#each $n` to `#end` are repeated as a whole.
//! Lines from `#lanes` to `#end` are walked for each lane of the workgroup, and `told$k(` is what lane `$k` tells: they are text where
//! lanes hear each other by their constant number ([`Counts::unrolled`]), a loop elsewhere.

/// How often the names stand for something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) inputs: u32,
    pub(super) fours: u32,
    pub(super) texels: u32,
    pub(super) lanes: u32,
    /// Whether `#lanes` is text.
    pub(super) unrolled: bool,
}

/// Rows of a tile that one lane makes.
const ROWS: u32 = 8;
/// Keys that one lane scores at a time; fours of columns that a tile of a product goes in a step.
const STEPS: u32 = 4;

impl Counts {
    fn of(&self) -> [(&'static str, u32); 6] {
        [
            ("$n", self.fours),
            ("$r", ROWS),
            ("$i", self.inputs),
            ("$c", self.texels),
            ("$s", STEPS),
            ("$k", self.lanes),
        ]
    }
}

/// The whole text of `source`.
pub(super) fn expand(source: &str, counts: &Counts) -> String {
    let mut text = String::with_capacity(source.len() * 2);
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let directive = line.trim();
        let mut group = || lines.by_ref().take_while(|line| line.trim() != "#end").collect::<Vec<_>>();
        if let Some(name) = directive.strip_prefix("#each ") {
            let times =
                counts.of().into_iter().find(|(known, _)| *known == name).map_or(1, |(_, times)| times);
            let group = group();
            for n in 0..times {
                group.iter().for_each(|line| repeat(&mut text, &line.replace(name, &n.to_string()), counts));
            }
        } else if directive == "#lanes" {
            walk_lanes(&mut text, &group(), counts);
        } else {
            repeat(&mut text, line, counts);
        }
    }
    text
}

fn walk_lanes(text: &mut String, group: &[&str], counts: &Counts) {
    if counts.unrolled {
        for lane in 0..counts.lanes {
            text.push_str("{\n");
            let told = format!("told_by_{lane}(");
            group.iter().for_each(|line| repeat(text, &line.replace("told$k(", &told), counts));
            text.push_str("}\n");
        }
    } else {
        text.push_str("for (var teller = 0u; teller < WORKGROUP; teller++) {\n");
        group.iter().for_each(|line| repeat(text, &line.replace("told$k(", "told_by(teller, "), counts));
        text.push_str("}\n");
    }
}

/// Puts a line as often as the names in it say.
fn repeat(text: &mut String, line: &str, counts: &Counts) {
    let is_code = !line.trim_start().starts_with("//");
    let mut put = vec![line.to_owned()];
    if is_code && line.contains('$') {
        for (name, times) in counts.of().into_iter().filter(|(name, _)| line.contains(name)) {
            let numbered = |line: String| (0..times).map(move |n| line.replace(name, &n.to_string()));
            put = put.into_iter().flat_map(numbered).collect();
        }
    }
    for line in put {
        text.push_str(&line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: Counts = Counts { inputs: 2, fours: 3, texels: 1, lanes: 2, unrolled: true };

    #[test]
    fn a_line_is_repeated_for_each_name_in_it() {
        assert_eq!(
            expand("a$i = b$n;\n// $i\n", &COUNTS),
            "a0 = b0;\na1 = b0;\na0 = b1;\na1 = b1;\na0 = b2;\na1 = b2;\n// $i\n"
        );
        assert_eq!(expand("$level\n", &COUNTS), "$level\n");
    }

    #[test]
    fn a_group_is_repeated_as_a_whole() {
        assert_eq!(
            expand("#each $n\na$n\nb$i\n#end\nc", &Counts { fours: 2, ..COUNTS }),
            "a0\nb0\nb1\na1\nb0\nb1\nc\n"
        );
    }

    #[test]
    fn lanes_are_text_or_a_loop() {
        let text = "#lanes\nx(told$k(1u, y));\n#end\n";
        assert_eq!(expand(text, &COUNTS), "{\nx(told_by_0(1u, y));\n}\n{\nx(told_by_1(1u, y));\n}\n");
        let walked = expand(text, &Counts { unrolled: false, ..COUNTS });
        assert_eq!(
            walked,
            "for (var teller = 0u; teller < WORKGROUP; teller++) {\nx(told_by(teller, 1u, y));\n}\n"
        );
    }
}
