//! Pages as text. Whatever is not ours to write goes through [`escape`].

use std::fmt::Write;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--warn:#b3541e}\
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1.5rem}\
header{display:flex;gap:1.5rem;align-items:baseline;border-bottom:1px solid var(--line);\
padding-bottom:.6rem;margin-bottom:1.2rem}\
header b{font-size:1.1rem;letter-spacing:.02em}\
a{color:inherit}h1{font-size:1.3rem;margin:0 0 .8rem}h2{font-size:1.05rem;margin:1.8rem 0 .5rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);\
vertical-align:top}\
th{font-weight:600;font-size:.85rem;opacity:.75}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
code{font-size:.85em;background:var(--soft);padding:.1em .3em;border-radius:3px}\
.quiet{opacity:.65}.warn{color:var(--warn);font-weight:600}\
form{display:flex;gap:.6rem;margin-top:1rem}input{flex:1;max-width:34rem}\
input,button{font:inherit;padding:.4rem .6rem}";

/// A text made safe to stand in an element or in a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A page; `body` is markup. Pages that show the fleet ask for themselves again.
pub(crate) fn page(title: &str, body: &str, refresh_seconds: Option<u32>) -> String {
    let mut text = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    text.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    if let Some(seconds) = refresh_seconds {
        put(&mut text, format_args!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"));
    }
    let title = escape(title);
    put(&mut text, format_args!("<title>{title} · Lineside</title><style>{STYLE}</style></head>"));
    text.push_str("<body><header><b>Lineside</b><a href=\"/\">Devices</a>");
    text.push_str("<a href=\"/releases\">Releases</a></header><main>");
    put(&mut text, format_args!("<h1>{title}</h1>{body}</main></body></html>"));
    text
}

/// A column: its head, and whether it holds numbers.
pub(crate) type Column = (&'static str, bool);

/// A table; cells are markup.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("<p class=\"quiet\">{}</p>", escape(empty));
    }
    let class = |number: bool| if number { " class=\"n\"" } else { "" };
    let mut text = String::from("<table><thead><tr>");
    for (head, number) in columns {
        put(&mut text, format_args!("<th{}>{}</th>", class(*number), escape(head)));
    }
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        text.push_str("<tr>");
        for (cell, (_, number)) in row.iter().zip(columns) {
            put(&mut text, format_args!("<td{}>{cell}</td>", class(*number)));
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table>");
    text
}

fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_device_says_becomes_markup() {
        let said = "<script>alert('x')</script> & \"y\"";
        let safe = escape(said);
        assert!(!safe.contains(['<', '>', '"', '\'']), "{safe}");
        assert!(page(said, "", None).matches("<script").count() == 0);
    }
}
