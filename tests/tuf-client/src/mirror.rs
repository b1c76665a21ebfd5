//! A mirror of the repository behind HTTP.

use anyhow::{Context, bail};
use lineside_trust::repository::{Fault, Mirror};
use std::io::Read;
use std::time::Duration;

/// Longest that a connection may take, and that a mirror may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The documents or files below a URL.
pub struct HttpMirror {
    base: String,
    agent: ureq::Agent,
}

impl HttpMirror {
    /// The mirror at `base`.
    pub fn new(base: &str) -> HttpMirror {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(SILENCE_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .accept_encoding("identity")
            .build()
            .new_agent();
        HttpMirror { base: base.trim_end_matches('/').to_owned(), agent }
    }

    /// The bytes at `path`, as they arrive; `None` if there are none.
    ///
    /// # Errors
    /// If the mirror gives no answer or another one.
    pub fn open(&self, path: &str) -> anyhow::Result<Option<impl Read + use<>>> {
        let url = format!("{}/{}", self.base, in_url(path));
        let answer = self.agent.get(&url).call().with_context(|| format!("cannot reach {url}"))?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.into_body().into_reader())),
            // Object stores say 403 of what is not there to those who may not list it.
            403 | 404 => Ok(None),
            status => bail!("{url} answers with status {status}"),
        }
    }
}

impl Mirror for HttpMirror {
    fn fetch(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Fault> {
        let Some(reader) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        reader.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// `path` with what may not stand in the path of a URL as `%` and two hex digits (RFC 3986, 3.3).
/// What is written so already stays.
fn in_url(path: &str) -> String {
    let mut url = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => url.push(byte.into()),
            _ if b"-._~!$&'()*+,;=:@/%".contains(&byte) => url.push(byte.into()),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_into_urls_without_changing_what_they_ask_for() {
        assert_eq!(in_url("1.vendor%2Facme.json"), "1.vendor%2Facme.json");
        assert_eq!(in_url("a dir/what?#é.bin"), "a%20dir/what%3F%23%C3%A9.bin");
    }
}
