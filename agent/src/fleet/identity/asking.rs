//! One question to the server: to join, or for another certificate.

use super::https::client;
use super::shared::{Identity, Shows};
use super::trusted::{in_words, is_unbelieved, tls_error};
use lineside_identity::{Answer, EXCHANGE_ANSWER_BYTES_MAX};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a connection may take, and all of it.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const WHOLE_MAX: Duration = Duration::from_secs(30);
/// Characters of an answer that nobody understands that are told.
const TOLD_MAX: usize = 300;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// The server does not believe the certificate that it was shown.
    Unbelieved,
    /// It is away, or says something else. Why, for people.
    Away(String),
}

/// What the server says to one that it does not understand or has no time for.
#[derive(Deserialize)]
struct Problem {
    error: String,
}

/// Asks `server`, a base URL, on a connection of its own. Blocks.
pub(super) fn ask(
    server: &str,
    path: &str,
    question: &impl Serialize,
    identity: &Identity,
    shows: Shows,
) -> Result<Answer, Silence> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .https_only(true)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(WHOLE_MAX))
        .build();
    let agent = client(config, identity.clone(), shows);
    let answered = agent.post(format!("{server}{path}")).send_json(question);
    let mut answered = answered.map_err(silence)?;
    let status = answered.status().as_u16();
    let body = answered.body_mut().with_config().limit(EXCHANGE_ANSWER_BYTES_MAX as u64);
    let body = body.read_to_vec().map_err(silence)?;
    if status == 200
        && let Ok(answer) = serde_json::from_slice(&body)
    {
        return Ok(answer);
    }
    let said = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.error,
        Err(_) => "something that is no answer to a device".to_owned(),
    };
    let said: String = said.chars().filter(|char| !char.is_control()).take(TOLD_MAX).collect();
    Err(Silence::Away(format!("{server} answers {status}: {said}")))
}

fn silence(error: ureq::Error) -> Silence {
    let tls = match &error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => tls_error(error),
        _ => None,
    };
    match tls {
        Some(error) if is_unbelieved(error) => Silence::Unbelieved,
        Some(error) => Silence::Away(in_words(error)),
        None => Silence::Away(error.to_string()),
    }
}
