//! What a request brings and nobody has read, because the request was refused before.
//!
//! A connection can carry the next request only after it; one that is closed over it without a word
//! loses the next request of a client that did nothing wrong, and may lose this one's answer, too.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::{Stream, StreamExt};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

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

/// Reads what is left of a request's body before it is answered. Where that is too much, the answer
/// says that the connection ends with it.
pub(crate) async fn read_first(request: Request, next: Next) -> Response {
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
        if waits || !read(rest).await {
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
