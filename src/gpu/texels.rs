//! A texture as a linear array of texels of 16 bytes, of 8 where they are 16-bit floats, or of 4 where they are bytes.
//!
//! A software device reads textures many times faster than buffers, but a texture has sides of at most 8,192. So the array is
//! folded into rows: texel `i` lies at `(i mod width, i / width)`, and the width is a power of two, which a shader asks for.

use std::ops::Range;

/// WebGPU's default limit of a texture's sides.
const MOST_SIDE: u64 = 8192;
/// The least width: a run of eight columns of 32-bit weights for 64 rows lies in one row of the texture. It is also a whole number of
/// 256 bytes, as copies into buffers want it.
const LEAST_WIDTH: u64 = 128;
/// The most texels that one texture holds.
const MOST_TEXELS: u64 = MOST_SIDE * MOST_SIDE;
/// The most that one texture of 32-bit numbers holds, in bytes.
pub(crate) const MOST_TEXTURE_BYTES: u64 = MOST_TEXELS * 16;

/// Width and height of the texture for so many texels: the narrowest that is not too high, so that little is wasted in its last row.
pub(super) fn sides(texels: u64) -> [u32; 2] {
    let texels = texels.max(1);
    let mut width = LEAST_WIDTH;
    while width < MOST_SIDE && texels.div_ceil(width) > MOST_SIDE {
        width *= 2;
    }
    [width as u32, u32::try_from(texels.div_ceil(width)).unwrap_or(u32::MAX)]
}

/// A rectangle of texels, and where its texels begin in the linear range it is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Texels of the range before this piece.
    pub(super) before: u64,
}

/// A linear range of texels as at most three rectangles: the end of a row, whole rows, the beginning of a row.
pub(super) fn rectangles(width: u32, range: Range<u64>) -> impl Iterator<Item = Rectangle> {
    let wide = u64::from(width);
    let first = range.start;
    let mut at = range.start;
    std::iter::from_fn(move || {
        let rest = range.end.checked_sub(at).filter(|rest| *rest > 0)?;
        let (x, y) = (at % wide, at / wide);
        let (columns, rows) =
            if x > 0 || rest < wide { (rest.min(wide - x), 1) } else { (wide, rest / wide) };
        let before = at - first;
        at += columns * rows;
        Some(Rectangle { x: x as u32, y: y as u32, width: columns as u32, height: rows as u32, before })
    })
}

/// A linear range of `texels` texels of one texture, and where it goes in another, as pairs of rectangles of one size. Each texture is
/// told by its width and by where the range begins in it.
pub(super) fn pieces(
    (width, first): (u32, u64),
    (to_width, to_first): (u32, u64),
    texels: u64,
) -> Vec<(Rectangle, Rectangle)> {
    let range = first..first + texels;
    if width == to_width && first % u64::from(width) == to_first % u64::from(width) {
        // Rows of one are rows of the other.
        return rectangles(width, range).zip(rectangles(width, to_first..to_first + texels)).collect();
    }
    let mut pieces = Vec::new();
    for piece in rectangles(width, range) {
        for row in 0..piece.height {
            let before = piece.before + u64::from(row) * u64::from(piece.width);
            let homes = to_first + before..to_first + before + u64::from(piece.width);
            for part in rectangles(to_width, homes) {
                // A part may be several whole rows of a narrower texture.
                for line in 0..part.height {
                    let done = part.before + u64::from(line) * u64::from(part.width);
                    let (y, before) = (piece.y + row, before + done);
                    let from =
                        Rectangle { x: piece.x + done as u32, y, width: part.width, height: 1, before };
                    pieces.push((from, Rectangle { y: part.y + line, height: 1, before, ..part }));
                }
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::{MOST_TEXELS, pieces, rectangles, sides};

    #[test]
    fn a_texture_is_high_before_it_is_wide() {
        for (texels, expected) in [
            (0, [128, 1]),
            (1, [128, 1]),
            (129, [128, 2]),
            (128 * 8192, [128, 8192]),
            (128 * 8192 + 1, [256, 4097]),
            (8192 * 8192, [8192, 8192]),
        ] {
            assert_eq!(sides(texels), expected, "{texels}");
        }
        assert_eq!(sides(MOST_TEXELS), [8192, 8192]);
    }

    #[test]
    fn every_range_is_cut_into_rectangles_that_hold_each_texel_once() {
        for width in [1_u32, 4, 64] {
            for start in 0..2 * u64::from(width) + 1 {
                for len in 0..4 * u64::from(width) {
                    let mut texels = Vec::new();
                    let mut pieces = 0;
                    for piece in rectangles(width, start..start + len) {
                        pieces += 1;
                        assert_eq!(piece.before, texels.len() as u64);
                        assert!(piece.x + piece.width <= width);
                        for y in piece.y..piece.y + piece.height {
                            texels.extend((piece.x..piece.x + piece.width).map(|x| u64::from(y * width + x)));
                        }
                    }
                    assert_eq!(texels, (start..start + len).collect::<Vec<_>>());
                    assert!(pieces <= 3);
                }
            }
        }
    }

    #[test]
    fn a_range_goes_to_the_same_order_of_texels_wherever_it_lies() {
        let linear = |width: u32, piece: &super::Rectangle| -> Vec<u64> {
            let rows = piece.y..piece.y + piece.height;
            rows.flat_map(|y| (piece.x..piece.x + piece.width).map(move |x| u64::from(y * width + x)))
                .collect()
        };
        for (width, to_width) in [(8, 8), (8, 16), (16, 8), (4, 32)] {
            for (first, to_first) in [(0, 0), (3, 3), (3, 11), (5, 2), (0, 7), (17, 1)] {
                for texels in [0, 1, 7, 8, 50] {
                    let (mut from, mut to) = (Vec::new(), Vec::new());
                    for (piece, home) in pieces((width, first), (to_width, to_first), texels) {
                        assert_eq!((piece.width, piece.height), (home.width, home.height));
                        from.extend(linear(width, &piece));
                        to.extend(linear(to_width, &home));
                    }
                    assert_eq!(from, (first..first + texels).collect::<Vec<_>>());
                    assert_eq!(to, (to_first..to_first + texels).collect::<Vec<_>>());
                }
            }
        }
    }
}
