//! Pages as text. Whatever is not ours to write goes through [`escape`].

use std::fmt::{Arguments, Write};

const STYLE: &str = include_str!("style.css");

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

/// A page; `body` and `footer` are markup.
pub(crate) struct Page<'a> {
    pub title: &'a str,
    /// Its place in the navigation, as in `/releases`.
    pub place: &'a str,
    pub body: &'a str,
    pub footer: &'a str,
    /// Pause before the page asks for itself again, if it does.
    pub refresh_seconds: Option<u32>,
}

impl Page<'_> {
    /// The whole document.
    pub fn render(&self) -> String {
        let title = escape(self.title);
        let mut text =
            String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
        text.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        if let Some(seconds) = self.refresh_seconds {
            put(&mut text, format_args!("<meta http-equiv=\"refresh\" content=\"{seconds}\">"));
        }
        put(&mut text, format_args!("<title>{title} · Lineside</title><style>{STYLE}</style>"));
        text.push_str("</head><body><header><b>Lineside</b><nav>");
        for (place, name) in
            [("/", "Devices"), ("/rollouts", "Rollouts"), ("/releases", "Releases")]
        {
            let class = if place == self.place { " class=\"here\"" } else { "" };
            put(&mut text, format_args!("<a href=\"{place}\"{class}>{name}</a>"));
        }
        put(&mut text, format_args!("</nav></header><main><h1>{title}</h1>{}</main>", self.body));
        put(&mut text, format_args!("<footer>{}</footer></body></html>", self.footer));
        text
    }
}

/// A column of a table.
pub(crate) enum Column {
    /// Words.
    Text(&'static str),
    /// A number.
    Number(&'static str),
    /// How often something happened that should not: whatever is not 0 stands out.
    Trouble(&'static str),
}

impl Column {
    fn head(&self) -> &'static str {
        match self {
            Column::Text(head) | Column::Number(head) | Column::Trouble(head) => head,
        }
    }

    fn class(&self, cell: &str) -> &'static str {
        match self {
            Column::Text(_) => "",
            Column::Trouble(_) if !matches!(cell, "0" | "") => " class=\"n some\"",
            Column::Number(_) | Column::Trouble(_) => " class=\"n\"",
        }
    }
}

/// A table; cells are markup. `empty` stands there if it has no rows.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], empty: &str) -> String {
    if rows.is_empty() {
        return format!("<div class=\"card\"><p class=\"empty\">{}</p></div>", escape(empty));
    }
    let mut text = String::from("<div class=\"card\"><table><thead><tr>");
    for column in columns {
        put(&mut text, format_args!("<th{}>{}</th>", column.class(""), column.head()));
    }
    text.push_str("</tr></thead><tbody>");
    for row in rows {
        text.push_str("<tr>");
        for (cell, column) in row.iter().zip(columns) {
            put(&mut text, format_args!("<td{}>{cell}</td>", column.class(cell)));
        }
        text.push_str("</tr>");
    }
    text.push_str("</tbody></table></div>");
    text
}

fn put(text: &mut String, arguments: Arguments<'_>) {
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
        let page = Page { title: said, place: "/", body: "", footer: "", refresh_seconds: None };
        assert!(!page.render().contains("<script"));
    }

    #[test]
    fn what_should_not_happen_stands_out_once_it_has() {
        let columns = [Column::Number("Frames"), Column::Trouble("Dropped")];
        let row = |frames: &str, dropped: &str| vec![vec![frames.to_owned(), dropped.to_owned()]];
        assert!(table(&columns, &row("7", "3"), "").contains("<td class=\"n some\">3</td>"));
        assert!(!table(&columns, &row("7", "0"), "").contains("some"));
        assert!(table(&columns, &[], "nothing <yet>").contains("nothing &lt;yet&gt;"));
    }
}
