//! From the pixels of a picture to the input of the image network, as it is or slightly moved.

use crate::nn::stream::Stream;

/// Where an output pixel is looked up in the picture: both coordinates run from -1 to 1 across it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    matrix: [f32; 4],
    shift: [f32; 2],
}

impl Placement {
    /// As it is.
    pub const IDENTITY: Self = Self { matrix: [1.0, 0.0, 0.0, 1.0], shift: [0.0, 0.0] };

    /// The corners and the centre, each half as high and wide as the picture: what stands for its patches (spec C.10).
    pub const CROPS: [Self; 5] = [
        Self::half_at([-0.5, -0.5]),
        Self::half_at([0.5, -0.5]),
        Self::half_at([-0.5, 0.5]),
        Self::half_at([0.5, 0.5]),
        Self::half_at([0.0, 0.0]),
    ];

    const fn half_at(shift: [f32; 2]) -> Self {
        Self { matrix: [0.5, 0.0, 0.0, 0.5], shift }
    }

    /// Turned by up to 0.25 rad, each axis stretched by up to a fifth, shifted by up to a ninth of the half
    /// side, and mirrored half of the time.
    #[allow(clippy::cast_possible_truncation)]
    pub fn random(draws: &mut Stream) -> Self {
        let angle = draws.uniform_in(-0.25, 0.25);
        let mirror = if draws.uniform() < 0.5 { -1.0 } else { 1.0 };
        let (across, down) = (mirror * draws.uniform_in(0.85, 1.2), draws.uniform_in(0.85, 1.2));
        let (sine, cosine) = (libm::sin(angle), libm::cos(angle));
        Self {
            matrix: [cosine * across, -sine * down, sine * across, cosine * down].map(|v| v as f32),
            shift: [draws.uniform_in(-0.11, 0.11) as f32, draws.uniform_in(-0.11, 0.11) as f32],
        }
    }
}

/// Writes `side x side x 3` values in 0..=1, 0 for white: each the mean over 2x2 points of the picture
/// (`picture_side x picture_side x 3` bytes), white beyond its edge. With the identity and a picture of twice
/// the side this is area averaging.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn sample(picture: &[u8], picture_side: usize, placement: Placement, out: &mut [f32], side: usize) {
    let Placement { matrix, shift } = placement;
    let (fine, scale) = (1.0 / side as f32, picture_side as f32 / 2.0);
    let inside = 0.0..picture_side as f32;
    for (at, pixel) in out.chunks_exact_mut(3).enumerate() {
        let mut sums = [0u32; 3];
        for point in 0..4 {
            let x = (2 * (at % side) + point % 2) as f32 * fine + 0.5 * fine - 1.0;
            let y = (2 * (at / side) + point / 2) as f32 * fine + 0.5 * fine - 1.0;
            let column = (matrix[0] * x + matrix[1] * y + shift[0] + 1.0) * scale;
            let row = (matrix[2] * x + matrix[3] * y + shift[1] + 1.0) * scale;
            if inside.contains(&column) && inside.contains(&row) {
                let place = (row as usize * picture_side + column as usize) * 3;
                sums.iter_mut().zip(&picture[place..place + 3]).for_each(|(sum, v)| *sum += 255 - u32::from(*v));
            }
        }
        pixel.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32 / 1020.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_averages_areas_crops_are_parts_and_a_shift_brings_white_in() {
        let picture: Vec<u8> = (0..8 * 8 * 3).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut out = vec![9.0; 4 * 4 * 3];
        sample(&picture, 8, Placement::IDENTITY, &mut out, 4);
        for (y, x, c) in [(0, 0, 0), (3, 2, 1), (1, 3, 2)] {
            let at = |dy: usize, dx: usize| 255.0 - f32::from(picture[((2 * y + dy) * 8 + 2 * x + dx) * 3 + c]);
            let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 1020.0;
            assert!((out[(y * 4 + x) * 3 + c] - mean).abs() < 1e-6);
        }
        for (crop, (row, column)) in Placement::CROPS.into_iter().zip([(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]) {
            // At half the side a crop is the picture's own pixels.
            sample(&picture, 8, crop, &mut out, 4);
            for (y, x, c) in [(0, 0, 0), (3, 2, 1), (1, 3, 2)] {
                let pixel = 255.0 - f32::from(picture[((row + y) * 8 + column + x) * 3 + c]);
                assert!((out[(y * 4 + x) * 3 + c] - pixel / 255.0).abs() < 1e-6, "{crop:?}");
            }
        }
        sample(&picture, 8, Placement::IDENTITY, &mut out, 4);
        let right = Placement { shift: [0.5, 0.0], ..Placement::IDENTITY };
        let mut moved = vec![9.0; 4 * 4 * 3];
        sample(&picture, 8, right, &mut moved, 4);
        assert_eq!(moved[..3], out[3..6]);
        assert_eq!(moved[9..12], [0.0; 3]);
    }
}
