//! A network between two programs that can be cut and mended: a relay on loopback.

use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The way to a port of this machine, at a port of its own that stays the same.
pub struct Line {
    port: u16,
    is_up: watch::Sender<bool>,
    // Dropped last: what runs on it ends then.
    _runtime: Runtime,
}

impl Line {
    /// Lays a line to `port`.
    ///
    /// # Errors
    /// No port is free.
    pub fn to(port: u16) -> anyhow::Result<Line> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let here = listener.local_addr().context("a listener has an address")?.port();
        let (is_up, up) = watch::channel(true);
        runtime.spawn(relay(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), up));
        Ok(Line { port: here, is_up, _runtime: runtime })
    }

    /// The port to go to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.is_up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.is_up.send_replace(true);
    }
}

async fn relay(listener: TcpListener, target: SocketAddr, up: watch::Receiver<bool>) {
    while let Ok((near, _)) = listener.accept().await {
        if *up.borrow() {
            tokio::spawn(carry(near, target, up.clone()));
        }
    }
}

/// Carries bytes both ways until an end closes or the line is cut.
async fn carry(mut near: TcpStream, target: SocketAddr, mut up: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        // Either end may break off at any time; that is all a line ever sees.
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    fn answers(line: &Line) -> bool {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", line.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(b"x");
        stream.read_exact(&mut [0]).is_ok()
    }

    #[test]
    fn a_line_that_is_cut_breaks_connections_and_carries_again_when_it_is_mended() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Line::to(listener.local_addr().unwrap().port()).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Says each byte again for as long as the other end is there.
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        let mut held = std::net::TcpStream::connect(("127.0.0.1", line.port())).unwrap();
        held.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        held.write_all(b"x").unwrap();
        held.read_exact(&mut [0]).unwrap();
        line.cut();
        assert_eq!(held.read(&mut [0]).unwrap_or_default(), 0, "the connection goes on");
        assert!(!answers(&line));
        line.mend();
        assert!(answers(&line));
    }
}
