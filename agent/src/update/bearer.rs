//! Tokens in place of a password: a registry that wants them answers 401 and names a token service
//! (`WWW-Authenticate: Bearer realm=…,service=…,scope=…`, RFC 6750 and "Token Authentication
//! Specification" of the distribution project). The password is shown to that, and the token that it
//! gives to the registry.

use crate::update::download::DownloadError;
use crate::update::server::{SLOW_MAX, Steady, origin};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use ureq::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use ureq::http::{HeaderMap, Uri};

/// Largest answer of a token service that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Longest part of a challenge that is passed on, in bytes.
const PART_BYTES_MAX: usize = 1 << 10;
/// Bundles whose tokens are kept. Then all are forgotten, and asked for again.
const TOKENS_MAX: usize = 64;

/// What may not stand in a part of a query as it is (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The tokens of a registry, by the bundle that they are for. Each is shown until it is refused.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, String>>);

impl Tokens {
    /// What to show for a path of the registry.
    pub(super) fn header(&self, path: &str) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(bundle(path)).map(|token| format!("Bearer {token}"))
    }

    /// Keeps what a token service gave for a path.
    pub(super) fn keep(&self, path: &str, token: String) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(bundle(path).to_owned(), token);
    }
}

/// The bundle that a path is about: `/v2/NAME/blobs/…`.
fn bundle(path: &str) -> &str {
    path.trim_start_matches("/v2/").split('/').next().unwrap_or_default()
}

/// Where a registry sends whoever wants a token, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    /// The realm, with what is asked for.
    url: String,
}

impl Challenge {
    /// The challenge in an answer of the registry at `base`; none if there is none that can be met. From
    /// `https` nobody is sent to plain text with a password in hand.
    pub(super) fn of(headers: &HeaderMap, base: &str) -> Option<Challenge> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter();
        let mut parts = values.filter_map(|value| bearer(value.to_str().ok()?)).next()?;
        let realm = parts.remove("realm")?;
        let (scheme, ..) = origin(&realm)?;
        let (base_scheme, ..) = origin(base)?;
        (scheme == "https" || scheme == base_scheme).then_some(())?;
        let mut url = realm.clone();
        let mut begun = realm.parse::<Uri>().ok()?.query().is_some();
        for name in ["service", "scope"] {
            if let Some(value) = parts.get(name) {
                url.push(if begun { '&' } else { '?' });
                url.push_str(&format!("{name}={}", encoded(value)));
                begun = true;
            }
        }
        Some(Challenge { realm, url })
    }

    /// Asks for a token, showing `authorization`. Without it a service may give one for what is public.
    pub(super) fn meet(
        &self,
        agent: &ureq::Agent,
        authorization: Option<&str>,
    ) -> Result<String, DownloadError> {
        let none = |why: String| DownloadError::Token { realm: self.realm.clone(), why };
        let mut request = agent.get(&self.url);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.call().map_err(|error| none(error.to_string()))?;
        if response.status() != 200 {
            return Err(none(format!("it answered {}", response.status().as_u16())));
        }
        let mut bytes = Vec::new();
        let steady = Steady::new(response.into_body().into_reader(), SLOW_MAX);
        let read = steady.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| none(error.to_string()))?;
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|error| none(error.to_string()))?;
        let token = answer.token.or(answer.access_token);
        let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
        token.ok_or_else(|| none("there is no token in its answer".into()))
    }
}

/// What a token service gives: one of both.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The parts of a `Bearer` challenge (RFC 9110, section 11.6.1), whatever else is in the header.
fn bearer(header: &str) -> Option<BTreeMap<String, String>> {
    let mut parts = None;
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.strip_prefix('=') {
            let (value, after) = value_of(value)?;
            if let Some(parts) = &mut parts {
                let parts: &mut BTreeMap<String, String> = parts;
                parts.insert(word.to_ascii_lowercase(), value);
            }
            rest = after;
        } else {
            // The name of a scheme. What was wanted ends where another one begins.
            if parts.is_some() && !word.is_empty() {
                return parts;
            }
            parts = word.eq_ignore_ascii_case("bearer").then(BTreeMap::new);
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    parts
}

/// A value, as a word or in quotes, and what follows it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let (value, rest) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (mut value, mut escaped) = (String::new(), false);
            let end = quoted.char_indices().find(|(_, char)| {
                let is_end = *char == '"' && !escaped;
                if !is_end && (escaped || *char != '\\') {
                    value.push(*char);
                }
                escaped = *char == '\\' && !escaped;
                is_end
            });
            (value, &quoted[end?.0 + 1..])
        }
        None => {
            let end = text.find([',', ' ']).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    };
    (value.len() <= PART_BYTES_MAX).then_some((value, rest))
}

/// A text as a part of a query.
fn encoded(text: &str) -> impl Display {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(header: &str, base: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, header.parse().unwrap());
        Challenge::of(&headers, base).map(|challenge| challenge.url)
    }

    #[test]
    fn a_challenge_says_where_to_ask_and_for_what() {
        let base = "https://registry.example";
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:turbine:pull""#,
                Some(
                    "https://auth.example/token?service=registry.example&scope=repository%3Aturbine%3Apull",
                ),
            ),
            (
                r#"bearer REALM="https://auth.example/token?a=b", scope="a,b c""#,
                Some("https://auth.example/token?a=b&scope=a%2Cb%20c"),
            ),
            (
                r#"Basic realm="x", Bearer realm=https://auth.example/t, error="invalid_token""#,
                Some("https://auth.example/t"),
            ),
            (
                r#"Bearer realm="https://auth.example/t", Basic realm="https://elsewhere.example""#,
                Some("https://auth.example/t"),
            ),
            (
                r#"Bearer realm="https://auth.example/t",service="a\"b\\c""#,
                Some("https://auth.example/t?service=a%22b%5Cc"),
            ),
            // Nobody is sent to plain text, to a file, or nowhere.
            (r#"Bearer realm="http://auth.example/token""#, None),
            (r#"Bearer realm="file:///etc/passwd""#, None),
            (r#"Bearer realm="/token""#, None),
            (r#"Bearer realm="https://auth.example"#, None),
            (r#"Basic realm="lineside", Bearer"#, None),
            (r#"Basic realm="https://auth.example/token""#, None),
            ("Bearer", None),
            ("", None),
        ] {
            assert_eq!(url(header, base).as_deref(), expected, "{header}");
        }
        let long = format!(r#"Bearer realm="https://auth.example/{}""#, "x".repeat(2_000));
        assert_eq!(url(&long, base), None);
        let plain = r#"Bearer realm="http://127.0.0.1:5001/token""#;
        assert!(url(plain, "http://127.0.0.1:5000").is_some());
    }
}
