//! The page around a report: one file that needs nothing else, dark on white, fit for paper.

use std::fmt::{self, Display, Write as _};

/// Below, a number is nought.
pub const NOTHING: f64 = 1e-300;
/// No script, no font and no image of anybody else's.
const STYLE: &str = include_str!("page.css");

/// A text of anybody as HTML shows it.
pub struct Text<'a>(pub &'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                char if char.is_control() && char != '\n' => f.write_char('\u{fffd}')?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

/// A page of this title with this body, which is HTML already.
pub fn page(title: &str, body: &str) -> String {
    let title = Text(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A table with a head; cells are HTML already. Columns in `numbers` are set to the right.
pub fn table(heads: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let class = |at: usize| if numbers.contains(&at) { " class=\"number\"" } else { "" };
    let mut html = String::from("<div class=\"wide\"><table>\n<thead><tr>");
    for (at, head) in heads.iter().enumerate() {
        let _ = write!(html, "<th scope=\"col\"{}>{}</th>", class(at), Text(head));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for (at, cell) in row.iter().enumerate() {
            match at {
                0 => _ = write!(html, "<th scope=\"row\">{cell}</th>"),
                at => _ = write!(html, "<td{}>{cell}</td>", class(at)),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
    html
}

/// A number for people: three digits that matter, thousands apart, nothing in powers that can be read without.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let size = value.abs();
    // The middle of what a bucket of noughts reaches to is none that anybody measured.
    if size < NOTHING {
        return "0".into();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{value:.2e}");
    }
    if size >= 999.5 {
        return thousands(value.round());
    }
    let digits = (2 - size.log10().floor() as i32).clamp(0, 7) as usize;
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    text.replace('-', "−")
}

/// A whole number, thousands apart.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("−{text}") } else { text }
}

/// A share (0 to 1) in percent.
pub fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// Bytes in the unit that suits them, of 1000.
pub fn bytes(count: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count;
    let mut at = 0;
    while value.abs() >= 1_000.0 && at + 1 < units.len() {
        value /= 1_000.0;
        at += 1;
    }
    format!("{} {}", number(value), units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_long_as_people_read_them() {
        for (value, told) in [
            (0.0, "0"),
            (1.1e-308, "0"),
            (0.123_456, "0.123"),
            (1.5, "1.5"),
            (-2.0, "−2"),
            (45.67, "45.7"),
            (999.7, "1\u{202f}000"),
            (-1_234_567.0, "−1\u{202f}234\u{202f}567"),
            (1e-7, "1.00e-7"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(number(value), told, "{value}");
        }
        assert_eq!(percent(0.1234), "12.3 %");
        assert_eq!((bytes(12.0), bytes(3_456_000.0)), ("12 B".into(), "3.46 MB".into()));
    }

    #[test]
    fn names_of_others_are_text_and_nothing_else() {
        let named = Text("<script>alert('x')</script> & \u{7}\"").to_string();
        assert_eq!(named, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; \u{fffd}&quot;");
        let page = page("<b>", &table(&["a<b"], &[], &[vec!["x".into()]]));
        assert!(page.contains("<title>&lt;b&gt;</title>") && page.contains("a&lt;b</th>"));
        assert!(
            !page.contains("<script") && !page.contains("http://") && !page.contains("https://")
        );
    }
}
