//! How close is right: the tables of `docs/numerics.md`, which no test has figures beside.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "every test program uses a part, as a private module"
)]

/// The page that decides how close is right.
pub const PAGE: &str = include_str!("../../docs/numerics.md");

/// What a class of kernels is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub nmse: f64,
    /// Largest error of one element, in units of the root mean square.
    pub element: f64,
}

/// The cells of every table row of the page.
fn table_rows() -> impl Iterator<Item = Vec<&'static str>> {
    PAGE.lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
}

/// The tolerance of kernel `stem`.
pub fn tolerance(stem: &str) -> Tolerance {
    let mut found = table_rows().filter_map(|cells| match cells[..] {
        [_, nmse, element, kernels] if kernels.split(", ").any(|kernel| kernel == stem) => {
            Some(Tolerance { nmse: nmse.parse().unwrap(), element: element.parse().unwrap() })
        }
        _ => None,
    });
    let one = found.next().unwrap_or_else(|| panic!("docs/numerics.md has no row for kernel {stem}"));
    assert_eq!(found.next(), None, "docs/numerics.md has two rows for kernel {stem}");
    one
}

/// A bound of its own: the row called `rule`.
pub fn bound(rule: &str) -> f64 {
    let mut found = table_rows().filter(|cells| cells[0] == rule);
    let one = found.next().unwrap_or_else(|| panic!("docs/numerics.md has no rule {rule:?}"));
    assert_eq!(found.next(), None, "docs/numerics.md has two rules {rule:?}");
    one[1].parse().unwrap()
}
