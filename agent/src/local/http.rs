//! The same door for programs of the plant that speak HTTP/1.1 (RFC 9112): what a person or a program
//! holds back of a slot's updates, as a resource. One request a connection, so that of the protocol's
//! framing nothing but a length has to be understood.

use crate::error::chain;
use crate::update::consent::holds::{HoldError, Holds};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};
use tokio::task::spawn_blocking;

/// Largest head of a request in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Largest body of a request in bytes.
const BODY_BYTES_MAX: u64 = 4 << 10;

/// What a `PUT` brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHold {
    reason: String,
    minutes: Option<u64>,
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// Whether this is the first line of a request.
pub(super) fn is_request(line: &str) -> bool {
    line.trim_end().ends_with(" HTTP/1.1")
}

/// Answers the request that `line` begins, of the user `by`; the answer is one as it goes out.
pub(super) async fn answer(
    line: &str,
    rest: &mut (impl AsyncBufRead + Unpin),
    holds: Holds,
    by: String,
) -> Vec<u8> {
    let answered = match request(line, rest).await {
        Ok(request) => spawn_blocking(move || obey(&request, &holds, &by)).await,
        Err(refused) => Ok(refused),
    };
    answered.unwrap_or_else(|_| Answer::refusing(503, "it was cut off")).bytes()
}

async fn request(line: &str, rest: &mut (impl AsyncBufRead + Unpin)) -> Result<Request, Answer> {
    let wrong = |why| Answer::refusing(400, why);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [method, path, _] = words[..] else { return Err(wrong("this is no request line")) };
    let (mut length, mut head_bytes) = (0, line.len());
    loop {
        let mut field = String::new();
        let read = rest.read_line(&mut field).await;
        if !matches!(read, Ok(1..)) {
            return Err(wrong("the head is cut off"));
        }
        head_bytes += field.len();
        if head_bytes > HEAD_BYTES_MAX {
            return Err(Answer::refusing(431, "the head is too large"));
        }
        let field = field.trim_end();
        if field.is_empty() {
            break;
        }
        let Some((name, value)) = field.split_once(':') else {
            return Err(wrong("a field of the head has no name"));
        };
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Answer::refusing(411, "a body needs its content-length"));
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| wrong("content-length is no number"))?;
        }
    }
    if length > BODY_BYTES_MAX {
        return Err(Answer::refusing(413, "the body is too large"));
    }
    let mut body = Vec::new();
    let read = rest.take(length).read_to_end(&mut body).await;
    if read.ok().is_none_or(|read| (read as u64) < length) {
        return Err(wrong("the body is cut off"));
    }
    Ok(Request { method: method.to_owned(), path: path.to_owned(), body })
}

fn obey(Request { method, path, body }: &Request, holds: &Holds, by: &str) -> Answer {
    let slot = path.strip_prefix("/v1/slots/").and_then(|rest| rest.strip_suffix("/hold"));
    let Some(slot) = slot.and_then(|slot| slot.parse().ok()) else {
        return Answer::refusing(404, "what there is here is /v1/slots/SLOT/hold");
    };
    let hold = match method.as_str() {
        "GET" => holds.of(&slot).ok_or(HoldError::None(slot)),
        "PUT" => match serde_json::from_slice(body) {
            Ok(NewHold { reason, minutes }) => holds.hold(&slot, by, &reason, minutes),
            Err(error) => {
                let why =
                    format!("write {{\"reason\": TEXT}}, and \"minutes\" if it ends: {error}");
                return Answer::refusing(400, &why);
            }
        },
        "DELETE" => holds.release(&slot, by),
        _ => return Answer::refusing(405, "GET, PUT and DELETE are possible"),
    };
    match hold {
        Ok(hold) => Answer::of(200, &hold),
        Err(error) => {
            let status = match &error {
                HoldError::Slot(_) | HoldError::None(_) => 404,
                HoldError::Reason | HoldError::Minutes => 422,
                HoldError::Database(_) => 503,
            };
            Answer::refusing(status, &chain(error))
        }
    }
}

impl Answer {
    fn of(status: u16, value: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(value).expect("answers have string keys");
        Answer { status, body }
    }

    fn refusing(status: u16, why: &str) -> Answer {
        Answer::of(status, &json!({ "error": why }))
    }

    fn bytes(&self) -> Vec<u8> {
        // The words are for people; a program reads the number (RFC 9112, section 4).
        let word = if self.status == 200 { "OK" } else { "Refused" };
        let head = format!(
            "HTTP/1.1 {} {word}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.status,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::update::consent::holds::Tell;
    use redb::backends::InMemoryBackend;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn holds() -> Holds {
        let open = || redb::Database::builder().create_with_backend(InMemoryBackend::new());
        let tell: Tell = Arc::new(|_, _, _| {});
        let slots = BTreeSet::from(["line".parse().unwrap()]);
        Holds::open(Arc::new(Database::open(open).unwrap()), slots, tell).unwrap()
    }

    async fn ask(holds: &Holds, request: &str) -> (u16, String) {
        let (line, rest) = request.split_once('\n').unwrap();
        assert!(is_request(line), "{line}");
        let answer = answer(line, &mut rest.as_bytes(), holds.clone(), "plc".into()).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn put(body: &str) -> String {
        let length = body.len();
        format!(
            "PUT /v1/slots/line/hold HTTP/1.1\r\nHost: agent\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn a_program_of_the_plant_holds_updates_back_and_lets_them_go() {
        let holds = holds();
        let slot = "line".parse().unwrap();
        let (status, body) = ask(&holds, &put(r#"{"reason":"surgery","minutes":90}"#)).await;
        assert_eq!(status, 200, "{body}");
        let told = holds.of(&slot).unwrap().told();
        assert_eq!(told, "held back by hand (plc) for 90 minutes: surgery");
        let get = "GET /v1/slots/line/hold HTTP/1.1\r\n\r\n";
        let (status, body) = ask(&holds, get).await;
        assert_eq!(status, 200);
        assert!(body.contains(r#""reason":"surgery""#), "{body}");
        let delete = "DELETE /v1/slots/line/hold HTTP/1.1\r\n\r\n";
        assert_eq!(ask(&holds, delete).await.0, 200);
        assert_eq!(holds.of(&slot), None);
        assert_eq!((ask(&holds, delete).await.0, ask(&holds, get).await.0), (404, 404));
    }

    #[tokio::test]
    async fn what_is_no_proper_request_changes_nothing_and_is_told_why() {
        let holds = holds();
        let long = "x".repeat(HEAD_BYTES_MAX);
        let put_to = |path: &str| put(r#"{"reason":"why"}"#).replace("/v1/slots/line/hold", path);
        for (request, status) in [
            (put("{}"), 400),
            (put(""), 400),
            (put(r#"{"reason":"why","hours":1}"#), 400),
            (put(r#"{"reason":""}"#), 422),
            (put(r#"{"reason":"why","minutes":0}"#), 422),
            (put_to("/v1/slots/other/hold"), 404),
            (put_to("/v1/slots/Line/hold"), 404),
            (put_to("/v1/slots/line"), 404),
            (put(r#"{"reason":"why"}"#).replace("PUT", "POST"), 405),
            (put("x").replace("Content-Length: 1", "Content-Length: 2"), 400),
            (put("x").replace("Content-Length: 1", "Content-Length: x"), 400),
            (put("x").replace("Content-Length: 1", "Content-Length: 99999"), 413),
            (put("x").replace("Content-Length: 1", "Transfer-Encoding: chunked"), 411),
            (put("x").replace("Host: agent", "Host"), 400),
            (put("x").replace("agent", &long), 431),
            ("PUT  HTTP/1.1\r\n\r\n".into(), 400),
            ("GET /v1/slots/line/hold HTTP/1.1\r\nHost: a\r\n".into(), 400),
        ] {
            let (found, body) = ask(&holds, &request).await;
            assert_eq!(found, status, "{request}\n{body}");
            assert!(body.starts_with(r#"{"error":"#), "{body}");
        }
        assert_eq!(holds.of(&"line".parse().unwrap()), None);
    }
}
