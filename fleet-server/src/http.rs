//! Connections to the HTTP interface: so many at a time, none that is silent for ever, none that never says
//! what it wants, and none that takes for ever what it is given.

use crate::bounds::{HANDSHAKE_MAX, HTTP_BYTES_PER_SECOND_MIN, HTTP_HEADERS_MAX, HTTP_SILENCE_MAX};
use crate::identity::Tls;
use axum::Router;
use axum::serve::Listener;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use lineside_identity::Peer;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How a connection came about: an extension of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The address at the other end.
    pub address: SocketAddr,
    pub way: Way,
}

/// By what a connection came.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// In the clear, from this machine.
    Plain,
    /// By TLS, and who has shown a certificate on it.
    Tls(Option<Arc<Peer>>),
}

/// Serves `router` until `stopped`, and then what is under way: by TLS where it is given.
pub(crate) async fn serve(
    listener: BoundedListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    stopped: impl Future<Output = ()>,
) {
    serve_within(HTTP_HEADERS_MAX, listener, tls, router, stopped).await;
}

async fn serve_within(
    headers_max: Duration,
    mut listener: BoundedListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    stopped: impl Future<Output = ()>,
) {
    let under_way = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(headers_max);
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopped => break,
        };
        let (http, router, watcher) = (http.clone(), router.clone(), under_way.watcher());
        let Some(tls) = tls.clone() else {
            let connection = Connection { address, way: Way::Plain };
            tokio::spawn(serve_one(http, stream, connection, router, watcher));
            continue;
        };
        // Whoever is slow at it keeps nobody else from coming.
        tokio::spawn(async move {
            match timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                Ok(Ok((stream, peer))) => {
                    let way = Way::Tls(peer.map(Arc::new));
                    serve_one(http, stream, Connection { address, way }, router, watcher).await;
                }
                Ok(Err(error)) => tracing::debug!("{address}: no connection by TLS: {error}"),
                Err(_) => tracing::debug!("{address}: the handshake took too long"),
            }
        });
    }
    drop(listener);
    under_way.shutdown().await;
}

async fn serve_one(
    http: http1::Builder,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    connection: Connection,
    router: Router,
    watcher: Watcher,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let served = watcher.watch(http.serve_connection(TokioIo::new(stream), service));
    if let Err(error) = served.await {
        tracing::debug!("a connection ended: {error}");
    }
}

/// Accepts a connection when there is room for it. Those that wait do so in the system's queue.
pub(crate) struct BoundedListener {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl BoundedListener {
    /// A listener with at most `connections_max` connections at a time.
    pub fn new(listener: TcpListener, connections_max: usize) -> BoundedListener {
        BoundedListener { listener, room: Arc::new(Semaphore::new(connections_max)) }
    }
}

impl Listener for BoundedListener {
    type Io = PatientStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let room = self.room.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (PatientStream::new(stream, Pace::of_connections(), room), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How slow somebody may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    span: Duration,
    bytes_per_second: u64,
}

impl Pace {
    /// As connections are bounded here.
    pub fn of_connections() -> Pace {
        Pace { span: HTTP_SILENCE_MAX, bytes_per_second: HTTP_BYTES_PER_SECOND_MIN }
    }
}

/// How somebody gets on, in spans of time one after the other: what he has taken in one does not let him
/// idle in the next.
#[derive(Debug)]
pub(crate) struct Progress {
    pace: Pace,
    since: Instant,
    bytes: u64,
}

impl Progress {
    /// Begins now.
    pub fn new(pace: Pace) -> Progress {
        Progress { pace, since: Instant::now(), bytes: 0 }
    }

    /// Counts what has moved, and says whether that is fast enough.
    pub fn keeps_up(&mut self, bytes: usize) -> bool {
        self.keeps_up_at(bytes, Instant::now())
    }

    fn keeps_up_at(&mut self, bytes: usize, now: Instant) -> bool {
        self.bytes += bytes as u64;
        let elapsed = now.duration_since(self.since);
        if elapsed < self.pace.span {
            return true;
        }
        let wanted = u128::from(self.pace.bytes_per_second) * elapsed.as_millis() / 1_000;
        let keeps_up = u128::from(self.bytes) >= wanted;
        (self.since, self.bytes) = (now, 0);
        keeps_up
    }
}

/// A connection that ends when nothing has moved on it, in either direction, for a span of time, and when
/// what is written to it is taken too slowly.
pub(crate) struct PatientStream<S> {
    stream: S,
    pace: Pace,
    silence: Pin<Box<Sleep>>,
    /// Since there is more to write than the other end takes.
    behind: Option<Progress>,
    _room: OwnedSemaphorePermit,
}

impl<S> PatientStream<S> {
    fn new(stream: S, pace: Pace, room: OwnedSemaphorePermit) -> PatientStream<S> {
        let silence = Box::pin(sleep(pace.span));
        PatientStream { stream, pace, silence, behind: None, _room: room }
    }

    /// What a step on the stream gave; an error if it gave nothing for too long.
    fn patient<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_ready() {
            let until = Instant::now() + self.pace.span;
            self.silence.as_mut().reset(until);
            return step;
        }
        ready!(self.silence.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// As [`PatientStream::patient`], of a step that wrote.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let moved = match &step {
            Poll::Ready(Ok(bytes)) => *bytes,
            Poll::Ready(Err(_)) => return step,
            Poll::Pending => 0,
        };
        if step.is_pending() {
            let pace = self.pace;
            self.behind.get_or_insert_with(|| Progress::new(pace));
        }
        if self.behind.as_mut().is_some_and(|behind| !behind.keeps_up(moved)) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.patient(context, step)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let step = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            // The next request: what he took of the answer before is past.
            self.behind = None;
        }
        self.patient(context, step)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, step)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_beyond_the_bound_is_served_when_another_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = BoundedListener::new(listener, 1);
        let address = listener.local_addr().unwrap();
        let _one = TcpStream::connect(address).await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"x").await.unwrap();
        let (first, _) = listener.accept().await;
        assert_eq!(listener.room.available_permits(), 0);
        drop(first);
        let (mut second, _) = listener.accept().await;
        assert_eq!(second.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn who_never_says_what_he_wants_gives_his_place_to_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = BoundedListener::new(listener, 1);
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(async || "served"));
        let stopped = std::future::pending();
        tokio::spawn(serve_within(Duration::from_millis(200), listener, None, router, stopped));
        // It is never silent, and never done.
        let mut endless = TcpStream::connect(address).await.unwrap();
        endless.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ").await.unwrap();
        tokio::spawn(async move {
            while endless.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = other.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
        assert!(answer.ends_with("served"), "{answer}");
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_and_makes_room() {
        let room = Arc::new(Semaphore::new(1));
        let (near, mut far) = tokio::io::duplex(64);
        let permit = room.clone().acquire_owned().await.unwrap();
        let pace = Pace { span: Duration::from_millis(100), bytes_per_second: 0 };
        let mut stream = PatientStream::new(near, pace, permit);
        far.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_takes_an_answer_too_slowly_gives_his_place_to_another() {
        let room = Arc::new(Semaphore::new(1));
        let (near, mut far) = tokio::io::duplex(64);
        let permit = room.clone().acquire_owned().await.unwrap();
        let pace = Pace { span: Duration::from_millis(200), bytes_per_second: 1 << 40 };
        let mut stream = PatientStream::new(near, pace, permit);
        // He is never silent.
        let taking = tokio::spawn(async move { while far.read_u8().await.is_ok() {} });
        let error = stream.write_all(&vec![7; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(stream);
        taking.await.unwrap();
        assert_eq!(room.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_keeps_up_is_given_all_of_it_and_may_think_before_he_asks_again() {
        let room = Arc::new(Semaphore::new(1));
        let (near, mut far) = tokio::io::duplex(64);
        let permit = room.clone().acquire_owned().await.unwrap();
        let pace = Pace { span: Duration::from_secs(30), bytes_per_second: 1 };
        let mut stream = PatientStream::new(near, pace, permit);
        let taking = tokio::spawn(async move {
            let mut answer = vec![0; 10_000];
            far.read_exact(&mut answer).await.unwrap();
            far.write_all(b"next").await.unwrap();
            far
        });
        stream.write_all(&[7; 10_000]).await.unwrap();
        assert!(stream.behind.is_some(), "he was behind, and kept up");
        let mut next = [0; 4];
        stream.read_exact(&mut next).await.unwrap();
        assert!(stream.behind.is_none(), "what he took before says nothing of what comes");
        drop(taking.await.unwrap());
    }

    #[test]
    fn each_span_of_time_is_looked_at_by_itself() {
        let pace = Pace { span: Duration::from_secs(10), bytes_per_second: 100 };
        let mut progress = Progress::new(pace);
        let at = |seconds| progress.since + Duration::from_secs(seconds);
        let [soon, first, second, third] = [at(9), at(10), at(20), at(50)];
        assert!(progress.keeps_up_at(0, soon), "the span is not over");
        assert!(progress.keeps_up_at(1_000_000, first));
        assert!(!progress.keeps_up_at(999, second), "what was taken before does not count");
        assert!(progress.keeps_up_at(3_000, third));
    }
}
