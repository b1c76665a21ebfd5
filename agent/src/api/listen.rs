//! Connections: so many at a time, none that never says what it wants.

use super::Api;
use super::patient::Patient;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections at a time; others wait in the system's queue.
const CONNECTIONS_MAX: usize = 256;
/// Largest head of a request in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a connection may say nothing until the next request's head is there.
const HEAD_MAX: Duration = Duration::from_secs(120);
/// Places that are kept for those that say soon what they want: connections that say nothing cannot
/// shut everybody out.
const PLACES_KEPT: usize = CONNECTIONS_MAX / 4;
/// Bodies that may arrive at the same time: as many as leave those places.
pub(super) const ARRIVING_MAX: usize = CONNECTIONS_MAX - PLACES_KEPT;
/// How long a connection in one of these places may say nothing.
const HEAD_SOON: Duration = Duration::from_secs(5);
/// How long nothing of an answer may be taken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long it takes until an address that somebody else has is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Listens until `stop` says true, and then answers what is under way.
pub(super) async fn listen(api: Arc<Api>, mut stop: watch::Receiver<bool>) {
    let Some(listener) = bound(&api, &mut stop).await else { return };
    let under_way = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("api: {error}");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        // An answer is written whole: there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let head_max = if room.available_permits() < PLACES_KEPT { HEAD_SOON } else { HEAD_MAX };
        let (api, watcher) = (api.clone(), under_way.watcher());
        tokio::spawn(async move {
            connection(api, stream, watcher, head_max).await;
            drop(place);
        });
    }
    drop(listener);
    under_way.shutdown().await;
}

/// The listener; none if the agent stops before there is one. Without it the device works as before.
async fn bound(api: &Api, stop: &mut watch::Receiver<bool>) -> Option<TcpListener> {
    let address = api.config.address;
    let scheme = if api.access.tls.is_some() { "https" } else { "http" };
    loop {
        let listener = TcpListener::bind(address).await;
        let listener = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        match listener {
            Ok((address, listener)) => {
                tracing::info!("requests to models are answered at {scheme}://{address}");
                if scheme == "http" && !address.ip().to_canonical().is_loopback() {
                    tracing::warn!(
                        "{address}: whoever listens on the way reads the token; see api.tls"
                    );
                }
                return Some(listener);
            }
            Err(error) => tracing::error!("api.address: cannot listen at {address}: {error}"),
        }
        tokio::select! {
            () = sleep(AGAIN_AFTER) => {}
            _ = stop.wait_for(|stop| *stop) => return None,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

async fn connection(api: Arc<Api>, stream: TcpStream, watcher: Watcher, head_max: Duration) {
    let stream = Patient::new(stream, SILENCE_MAX);
    match api.access.tls.clone() {
        None => serve(api, stream, watcher, head_max).await,
        Some(tls) => match timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(api, stream, watcher, head_max).await,
            Ok(Err(error)) => tracing::debug!("api: a handshake failed: {error}"),
            Err(_) => tracing::debug!("api: a handshake took too long"),
        },
    }
}

async fn serve(
    api: Arc<Api>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watcher: Watcher,
    head_max: Duration,
) {
    let service = service_fn(move |request| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_max).max_buf_size(HEAD_BYTES_MAX);
    // Who has said all that he has to say may close his side, and is answered all the same.
    http.half_close(true);
    let served = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
    if let Err(error) = served.await {
        tracing::debug!("api: a connection ended: {error}");
    }
}
