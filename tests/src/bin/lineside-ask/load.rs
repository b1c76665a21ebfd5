//! Asks a server over and over, from several connections, and counts: the same for every server.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request, and where it goes.
#[derive(Debug, Clone)]
pub struct Load {
    pub address: SocketAddr,
    request: Vec<u8>,
}

/// What was seen of a server.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Answers in a second, of all connections.
    pub per_second: f64,
    /// Time from a request to its answer, in the median.
    pub p50: Duration,
    /// The same of the slowest hundredth.
    pub p99: Duration,
}

impl Load {
    /// A request to `path` with a body of JSON.
    pub fn new(address: SocketAddr, path: &str, body: &str) -> Load {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        Load { address, request: [head.as_bytes(), body.as_bytes()].concat() }
    }

    /// Asks once, over a connection of its own.
    ///
    /// # Errors
    /// There is no answer, or it is not 200.
    pub fn once(&self) -> anyhow::Result<Vec<u8>> {
        Connection::open(self.address)?.ask(&self.request)
    }

    /// Asks from so many connections for so long; each asks again when it has its answer.
    ///
    /// # Errors
    /// As [`Load::once`]: not one request may fail.
    pub fn run(&self, connections: usize, long: Duration) -> anyhow::Result<Seen> {
        let began = Instant::now();
        let ask = || -> anyhow::Result<Vec<Duration>> {
            let mut connection = Connection::open(self.address)?;
            let mut times = Vec::new();
            while began.elapsed() < long {
                let asked = Instant::now();
                connection.ask(&self.request)?;
                times.push(asked.elapsed());
            }
            Ok(times)
        };
        let mut times = thread::scope(|scope| {
            let threads: Vec<_> = (0..connections).map(|_| scope.spawn(ask)).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().expect("a connection does not panic")?);
            }
            anyhow::Ok(all)
        })?;
        let seconds = began.elapsed().as_secs_f64();
        times.sort();
        let (count, Some(p50)) = (times.len(), times.get(times.len() / 2)) else {
            bail!("nothing was answered");
        };
        let per_second = count as f64 / seconds;
        Ok(Seen { per_second, p50: *p50, p99: times[count * 99 / 100] })
    }
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.0.get_mut().write_all(request)?;
        let (mut line, mut status, mut length) = (String::new(), String::new(), None);
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            match line.trim_end() {
                "" => break,
                field if status.is_empty() => status = field.to_owned(),
                field => {
                    let (name, value) = field.split_once(':').unwrap_or_default();
                    if name.eq_ignore_ascii_case("content-length") {
                        length = value.trim().parse().ok();
                    }
                }
            }
        }
        let mut body = vec![0; length.with_context(|| format!("no content-length: {status}"))?];
        self.0.read_exact(&mut body)?;
        if status.split(' ').nth(1) != Some("200") {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
