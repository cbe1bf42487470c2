//! What a few measurements of the same thing tell.

/// Student's t for 95 %, by degrees of freedom from 1; beyond, the normal distribution's.
const STUDENT: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];
const NORMAL: f64 = 1.96;

/// The mean, and how far from it the truth may be: 95 % of the time no further. 0 if there is one
/// number only.
#[must_use]
pub fn mean_and_error(numbers: &[f64]) -> (f64, f64) {
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let Some(freedom) = numbers.len().checked_sub(2) else { return (mean, 0.0) };
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let deviation = (squares / (count - 1.0) / count).sqrt();
    (mean, STUDENT.get(freedom).unwrap_or(&NORMAL) * deviation)
}

#[cfg(test)]
mod tests {
    use super::mean_and_error;

    #[test]
    fn the_more_numbers_differ_the_less_is_known() {
        assert_eq!(mean_and_error(&[7.0]), (7.0, 0.0));
        assert_eq!(mean_and_error(&[3.0, 3.0, 3.0]), (3.0, 0.0));
        let (mean, error) = mean_and_error(&[1.0, 3.0]);
        assert!((mean - 2.0).abs() < 1e-9 && (error - 12.71).abs() < 1e-9);
    }
}
