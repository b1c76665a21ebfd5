//! What is released.

use crate::api::page::html::{Column, escape, table};
use crate::api::page::routes::Shown;
use crate::error::Error;
use crate::fleet::Fleet;
use time::OffsetDateTime;

pub(super) async fn show(fleet: &Fleet, now: OffsetDateTime) -> Result<Shown, Error> {
    let version = fleet.documents.releases_version().await?;
    let mut body = format!("<p class=\"quiet\">List of releases, version {version}</p>");
    let (released, problem) = match fleet.documents.released_when_accepted().await {
        Ok(Some(released)) => (Some(released), fleet.documents.released(now).await.err()),
        Ok(None) => (None, None),
        // Its keys were replaced, so nothing of it can be shown as released.
        Err(error @ Error::Untrusted(_)) => (None, Some(error)),
        Err(error) => return Err(error),
    };
    if let Some(problem) = problem {
        body.push_str(&format!(
            "<ul class=\"troubles\"><li>Devices install nothing new: {}. Sign the list anew with \
             <code>lineside release BUNDLE</code></li></ul>",
            escape(&problem.to_string())
        ));
    }
    let rows: Vec<Vec<String>> = released
        .iter()
        .flat_map(|released| released.iter())
        .map(|release| {
            vec![
                format!("<b>{}</b>", escape(&release.id.to_string())),
                release.number.to_string(),
                release.floor.to_string(),
                format!("<code>{}</code>", escape(&release.id.digest.short())),
            ]
        })
        .collect();
    let columns = [
        Column::Text("Release"),
        Column::Number("Number"),
        Column::Number("Floor"),
        Column::Text("Digest"),
    ];
    let empty = match version {
        0 => "Nothing is released yet: `lineside release BUNDLE`.",
        _ => "Nothing of the list can be shown.",
    };
    body.push_str(&table(&columns, &rows, empty));
    Ok(Shown { title: "Releases".into(), place: "/releases", body })
}
