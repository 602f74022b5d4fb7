//! Numbers as Java prints them, since monitoring tools were written against that.

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Integer(i64),
    Double(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Integer(number) => write!(f, "{number}"),
            Number::Double(number) => f.write_str(&java_double(*number)),
        }
    }
}

/// Mean with at most four decimals, halves rounded up; 0 of nothing. Java rounds the exact decimal expansion of the
/// quotient, and so does this.
pub fn average(sum: u64, count: u64) -> f64 {
    if count == 0 {
        return 0.0;
    }
    let exact = format!("{:.80}", sum as f64 / count as f64);
    let Some(point) = exact.find('.') else {
        return 0.0;
    };
    let kept: String = exact[..point + 5].chars().filter(|c| *c != '.').collect();
    let up = exact.as_bytes()[point + 5] >= b'5';
    let ten_thousandths = kept.parse::<u128>().unwrap_or(u128::MAX - 1) + u128::from(up);
    // Through text, because a decimal of this length reads back as the nearest double and a division may not.
    format!("{}e-4", ten_thousandths).parse().unwrap_or(0.0)
}

/// As `Double.toString`: at least one decimal, exponents below 0.001 and from ten million on.
pub fn java_double(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = number.abs();
    if size == 0.0 || (1e-3..1e7).contains(&size) {
        return format!("{number:?}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_as_java_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.6808, "0.6808"),
            (0.001, "0.001"),
            (5e-4, "5.0E-4"),
            (1234567.25, "1234567.25"),
            (1e7, "1.0E7"),
            (1795337015888.0, "1.795337015888E12"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn averages_as_java_rounds_them() {
        assert_eq!(average(0, 0), 0.0);
        assert_eq!(average(14, 307), 0.0456);
        assert_eq!(average(21516, 303), 71.0099);
        assert_eq!(average(1, 32), 0.0313, "an exact half is rounded up");
        assert_eq!(average(3, 20000), 1e-4, "0.00015 is below the half as a double");
        assert_eq!(average(1, 20000), 1e-4, "0.00005 is above it");
        assert_eq!(average(u64::MAX, 1), u64::MAX as f64);
        assert_eq!(average(2, 3), 0.6667);
        assert_eq!(average(1, 3), 0.3333);
    }
}
