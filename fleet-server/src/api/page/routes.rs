//! Which page is where, and who may see it.

use crate::api::caller::{Browser, cookie};
use crate::api::extract::{Path, Query};
use crate::api::page::html::{Page, escape};
use crate::api::page::{device, devices, releases, rollouts};
use crate::api::sessions::hear;
use crate::bounds::HTTP_STRANGER_MAX;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::http::{Connection, Way};
use axum::extract::{DefaultBodyLimit, Form, FromRequest, Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::time::timeout;

/// Pause before a page asks for itself again.
const REFRESH_SECONDS: u32 = 5;

/// The administrator's token; or name, password and code.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entering {
    token: String,
    name: String,
    password: String,
    code: String,
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
    after: Option<String>,
}

/// A page that is shown: its title, its place in the navigation, and what is on it.
pub(super) struct Shown {
    pub title: String,
    pub place: &'static str,
    pub body: String,
}

/// Largest form with a token, in bytes.
const TOKEN_BYTES_MAX: usize = 4 << 10;

/// The routes of the pages.
pub(crate) fn router() -> Router<Arc<Fleet>> {
    Router::new()
        .route("/", get(devices))
        .route("/login", post(login).layer(DefaultBodyLimit::max(TOKEN_BYTES_MAX)))
        .route("/logout", post(logout))
        .route("/devices/{device}", get(device))
        .route("/rollouts", get(rollouts))
        .route("/releases", get(releases))
}

async fn login(
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    // Whoever has a token or a password has it at hand.
    let given = timeout(HTTP_STRANGER_MAX, Form::<Entering>::from_request(request, &fleet)).await;
    let Ok(Ok(Form(given))) = given else { return ask("Nothing was given to enter with.") };
    if given.name.is_empty() {
        return enter(&fleet, &given.token, &connection);
    }
    if let Err(error) = hear(&fleet, connection.address.ip()) {
        return ask(&error.told());
    }
    let (code, now) = (Some(given.code.as_str()), OffsetDateTime::now_utc());
    match fleet.people.enter(&given.name, &given.password, code, now).await {
        Ok(begun) if begun.must_set_password => {
            ask("Set a password of your own first: lineside login")
        }
        Ok(begun) => let_in(&fleet, &begun.token, &connection),
        Err(error) => ask(&error.told()),
    }
}

/// Ends the session, and has the browser forget it.
async fn logout(State(fleet): State<Arc<Fleet>>, headers: HeaderMap) -> Response {
    let name = fleet.administrator.cookie_name();
    if let Some(token) = cookie(&headers, name)
        && let Ok(Some(session)) = fleet.people.session(token, OffsetDateTime::now_utc()).await
        && let Err(error) = fleet.people.leave(&session).await
    {
        return ask(&error.told());
    }
    let gone = format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
    let Ok(gone) = HeaderValue::from_str(&gone) else { return ask("") };
    let location = (LOCATION, HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [location, (SET_COOKIE, gone)]).into_response()
}

/// Gives the browser its cookie and sends it to the devices, so that no token stays in the address.
fn enter(fleet: &Fleet, token: &str, connection: &Connection) -> Response {
    if !fleet.administrator.is_token(token) {
        return ask("That is not the administrator's token.");
    }
    let_in(fleet, fleet.administrator.cookie(), connection)
}

fn let_in(fleet: &Fleet, value: &str, connection: &Connection) -> Response {
    let name = fleet.administrator.cookie_name();
    let secure = match connection.way {
        Way::Plain => "",
        Way::Tls(_) => "; Secure",
    };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}");
    let Ok(cookie) = HeaderValue::from_str(&cookie) else { return ask("") };
    let location = (LOCATION, HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [location, (SET_COOKIE, cookie)]).into_response()
}

fn ask(problem: &str) -> Response {
    let problem = match problem {
        "" => String::new(),
        problem => format!("<ul class=\"troubles\"><li>{}</li></ul>", escape(problem)),
    };
    let field = |name: &str, kind: &str, label: &str| {
        format!("<label>{label} <input name=\"{name}\" type=\"{kind}\"></label>")
    };
    let (name, password) =
        (field("name", "text", "Name"), field("password", "password", "Password"));
    let (code, token) =
        (field("code", "text", "Code, if you have one"), field("token", "password", "Token"));
    let form = "<form class=\"login\" method=\"post\" action=\"/login\">";
    let button = "<button>Show the fleet</button></form>";
    let body = format!(
        "{problem}{form}{name}{password}{code}{button}\
         <p>Or the administrator's token, which stands in <code>admin.token</code> in the server's data folder:</p>\
         {form}{token}{button}"
    );
    let title = "Who are you?";
    let page = Page { title, place: "", body: &body, footer: "", refresh_seconds: None };
    (StatusCode::UNAUTHORIZED, Html(page.render())).into_response()
}

async fn devices(
    browser: Browser,
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    Query(asked): Query<Asked>,
) -> Response {
    if let Some(token) = asked.token {
        return enter(&fleet, &token, &connection);
    }
    if !browser.logged_in {
        return ask("");
    }
    let after = asked.after.unwrap_or_default();
    answer(&fleet, devices::show(&fleet, &after, OffsetDateTime::now_utc()).await).await
}

async fn device(
    browser: Browser,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
) -> Response {
    if !browser.logged_in {
        return ask("");
    }
    answer(&fleet, device::show(&fleet, &name, OffsetDateTime::now_utc()).await).await
}

async fn rollouts(browser: Browser, State(fleet): State<Arc<Fleet>>) -> Response {
    if !browser.logged_in {
        return ask("");
    }
    answer(&fleet, rollouts::show(&fleet, OffsetDateTime::now_utc()).await).await
}

async fn releases(browser: Browser, State(fleet): State<Arc<Fleet>>) -> Response {
    if !browser.logged_in {
        return ask("");
    }
    answer(&fleet, releases::show(&fleet, OffsetDateTime::now_utc()).await).await
}

async fn answer(fleet: &Fleet, shown: Result<Shown, Error>) -> Response {
    let (status, shown, refresh_seconds) = match shown {
        Ok(shown) => (StatusCode::OK, shown, Some(REFRESH_SECONDS)),
        Err(error) => {
            let body = format!("<p>{}</p>", escape(&error.told()));
            (error.status(), Shown { title: "Not shown".into(), place: "", body }, None)
        }
    };
    let footer = footer(fleet.guard.dropped());
    let Shown { title, place, body } = &shown;
    let body = &format!("{}{body}", troubles(&fleet.attention(OffsetDateTime::now_utc()).await));
    let page = Page { title, place, body, footer: &footer, refresh_seconds };
    (status, Html(page.render())).into_response()
}

/// What is wrong with the server itself.
fn troubles(sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let items: String =
        sentences.iter().map(|sentence| format!("<li>{}</li>", escape(sentence))).collect();
    format!("<ul class=\"troubles\">{items}</ul>")
}

/// What is true of the whole server.
fn footer(messages_dropped: u64) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let dropped = match messages_dropped {
        0 => "the broker has dropped no message since its start".into(),
        count => format!(
            "<span class=\"warn\">the broker has dropped {count} messages since its start</span>"
        ),
    };
    format!("Lineside server {version} · {dropped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_server_is_on_every_page() {
        let said = troubles(&["the clock <of 2028>".into()]);
        assert!(said.contains("<li>the clock &lt;of 2028&gt;</li>"), "{said}");
        assert_eq!(troubles(&[]), "");
    }

    #[test]
    fn messages_that_the_broker_dropped_are_on_every_page() {
        assert!(footer(0).contains("no message") && !footer(0).contains("warn"));
        assert!(footer(7).contains("has dropped 7 messages"));
    }
}
