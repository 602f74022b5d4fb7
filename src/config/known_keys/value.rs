//! What a value looks like: the check that every key gets, used or not.

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, any case.
    Bool,
    /// `yes` or `no`, any case.
    YesNo,
    /// A whole number within both bounds.
    Int { min: i64, max: i64 },
    /// A number within both bounds.
    Real { min: f64, max: f64 },
    /// One of these words, any case.
    OneOf(&'static [&'static str]),
    /// Anything.
    Text,
}

/// A value that has its form.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
}

impl Kind {
    pub const fn int(min: i64) -> Kind {
        Kind::Int { min, max: i32::MAX as i64 }
    }

    pub const fn long(min: i64) -> Kind {
        Kind::Int { min, max: i64::MAX }
    }

    /// Reads `text`. Properties may write numbers as Java's `decode` reads them (`0xfffff`, octal after a leading
    /// zero); keys of the parser itself are decimal only. The error says what was expected.
    pub fn parse(&self, text: &str, property: bool) -> Result<Value, String> {
        let wrong = |expected: &str| Err(format!("{expected} expected, found `{text}`"));
        match *self {
            Kind::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Kind::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Kind::Bool => wrong("true or false"),
            Kind::YesNo if text.eq_ignore_ascii_case("yes") => Ok(Value::Bool(true)),
            Kind::YesNo if text.eq_ignore_ascii_case("no") => Ok(Value::Bool(false)),
            Kind::YesNo => wrong("yes or no"),
            Kind::Int { min, max } => match whole_number(text, property) {
                Some(number) if (min..=max).contains(&number) => Ok(Value::Int(number)),
                _ => wrong(&format!("a whole number from {min} to {max}")),
            },
            Kind::Real { min, max } => match text.parse::<f64>() {
                Ok(number) if number >= min && number <= max => Ok(Value::Real(number)),
                _ if max == f64::MAX => wrong("a number"),
                _ => wrong(&format!("a number from {min} to {max}")),
            },
            Kind::OneOf(words) => match words.iter().find(|w| w.eq_ignore_ascii_case(text)) {
                Some(word) => Ok(Value::Text((*word).to_owned())),
                None => wrong(&format!("one of `{}`", words.join("`, `"))),
            },
            Kind::Text => Ok(Value::Text(text.to_owned())),
        }
    }
}

fn whole_number(text: &str, property: bool) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_str() {
        hex if property && hex.starts_with("0x") => (16, &hex[2..]),
        hex if property && hex.starts_with('#') => (16, &hex[1..]),
        octal if property && octal.len() > 1 && octal.starts_with('0') => (8, &octal[1..]),
        decimal => (10, decimal),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_java_reads_them() {
        let kind = Kind::int(-1);
        let parsed = |text, property| kind.parse(text, property).ok();
        assert_eq!(parsed("2000", false), Some(Value::Int(2000)));
        assert_eq!(parsed("+7", false), Some(Value::Int(7)));
        assert_eq!(parsed("-1", false), Some(Value::Int(-1)));
        assert_eq!(parsed("010", false), Some(Value::Int(10)));
        assert_eq!(parsed("010", true), Some(Value::Int(8)));
        assert_eq!(parsed("0xfffff", true), Some(Value::Int(0xfffff)));
        assert_eq!(parsed("#ff", true), Some(Value::Int(255)));
        for wrong in ["", "-", "0x10", "1 000", "2000ms", "-2", "2147483648", "--1", "é"] {
            assert_eq!(parsed(wrong, false), None, "{wrong}");
        }
        assert_eq!(parsed("99999999999999999999999999999999999999999", true), None);
        let long = Kind::long(i64::MIN);
        assert_eq!(long.parse("-9223372036854775808", false).unwrap(), Value::Int(i64::MIN));
    }

    #[test]
    fn words() {
        assert_eq!(Kind::Bool.parse("TRUE", false).unwrap(), Value::Bool(true));
        assert!(Kind::Bool.parse("yes", false).unwrap_err().contains("true or false"));
        assert_eq!(Kind::YesNo.parse("no", false).unwrap(), Value::Bool(false));
        let kind = Kind::OneOf(&["gz", "snappy"]);
        assert_eq!(kind.parse("GZ", true).unwrap(), Value::Text("gz".to_owned()));
        assert!(kind.parse("zip", true).unwrap_err().contains("`zip`"));
        let ratio = Kind::Real { min: 0.0, max: 1.0 };
        assert_eq!(ratio.parse("0.02", true).unwrap(), Value::Real(0.02));
        assert!(ratio.parse("NaN", true).is_err());
        assert!(ratio.parse("1.5", true).is_err());
    }
}
