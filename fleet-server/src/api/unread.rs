//! What a request brings and nobody has read, because the request was refused before.
//!
//! A connection can carry the next request only after it; one that is closed over it without a word
//! loses the next request of a client that did nothing wrong, and may lose this one's answer, too.

use crate::bounds::HTTP_STRANGER_MAX;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bytes that are read and thrown away, so that a client that sends all of a body before it listens
/// hears why it was refused.
const UNWANTED_BYTES_MAX: usize = 8 << 20;

/// A body that comes back when nobody reads it any more.
struct Lent {
    rest: Rest,
    back: Option<oneshot::Sender<Rest>>,
}

#[derive(Default)]
struct Rest {
    pieces: Option<BodyDataStream>,
    begun: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            // Nobody waits for it where the request itself was given up.
            let _ = back.send(std::mem::take(&mut self.rest));
        }
    }
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rest.begun = true;
        match &mut self.rest.pieces {
            Some(pieces) => pieces.poll_next_unpin(context),
            None => Poll::Ready(None),
        }
    }
}

/// Reads what is left of a request's body before it is answered. Where that is too much, or takes too
/// long, the answer says that the connection ends with it.
pub(crate) async fn read_first(request: Request, next: Next) -> Response {
    read_first_within(HTTP_STRANGER_MAX, request, next).await
}

async fn read_first_within(longest: Duration, request: Request, next: Next) -> Response {
    let expects = request.headers().contains_key(header::EXPECT);
    let (give, mut back) = oneshot::channel();
    let request = request.map(|body| {
        let rest = Rest { pieces: Some(body.into_data_stream()), begun: false };
        Body::from_stream(Lent { rest, back: Some(give) })
    });
    let mut response = next.run(request).await;
    if let Ok(rest) = back.try_recv() {
        // A client that waits for a word before it sends anything takes the answer for that word.
        let waits = expects && !rest.begun;
        if waits || !timeout(longest, read(rest)).await.unwrap_or(false) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    response
}

/// Reads to the end. Returns whether it came to that.
async fn read(rest: Rest) -> bool {
    let Some(mut pieces) = rest.pieces else { return true };
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return false };
        bytes += piece.len();
        if bytes > UNWANTED_BYTES_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{BoundedListener, serve};
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn who_is_refused_and_never_ends_what_he_says_gives_his_place_to_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(200);
        let router = Router::new()
            .route("/", get(async || "served"))
            .route("/refused", post(async || StatusCode::UNAUTHORIZED))
            .layer(from_fn(move |request, next| read_first_within(patience, request, next)));
        let stopped = std::future::pending();
        tokio::spawn(serve(BoundedListener::new(listener, 1), None, router, stopped));
        // It is never silent, and never done.
        let mut endless = TcpStream::connect(address).await.unwrap();
        let head = b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n";
        endless.write_all(head).await.unwrap();
        tokio::spawn(async move {
            while endless.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = other.read_to_string(&mut answer);
        timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        assert!(answer.ends_with("served"), "{answer}");
    }
}
