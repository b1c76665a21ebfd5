//! A network between two programs that can be held, cut and mended: a relay on loopback.

use anyhow::Context;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The way to a port of this machine, at a port of its own that stays the same.
pub struct Line {
    port: u16,
    state: watch::Sender<State>,
    // Dropped last: what runs on it ends then.
    _runtime: Runtime,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Carries,
    IsHeld,
    IsCut,
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
        let (state, seen) = watch::channel(State::Carries);
        runtime.spawn(relay(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), seen));
        Ok(Line { port: here, state, _runtime: runtime })
    }

    /// The port to go to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has nothing arrive any more, at either end, and neither hears of it: as where a cable is pulled
    /// out. What is sent meanwhile is lost, and a connection that was held never goes on. New ones end
    /// at once.
    pub fn hold(&self) {
        self.state.send_replace(State::IsHeld);
    }

    /// Ends every connection, and each new one at once.
    pub fn cut(&self) {
        self.state.send_replace(State::IsCut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.send_replace(State::Carries);
    }
}

async fn relay(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>) {
    while let Ok((near, _)) = listener.accept().await {
        if *state.borrow() == State::Carries {
            tokio::spawn(carry(near, target, state.clone()));
        }
    }
}

/// Carries bytes both ways until an end closes or the line is held or cut.
async fn carry(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        biased;
        _ = state.wait_for(|state| *state != State::Carries) => {}
        // Either end may break off at any time; that is all a line ever sees.
        _ = copy_bidirectional(&mut near, &mut far) => return,
    }
    // Whoever ends it, the connections end with this function.
    let _ = state.wait_for(|state| *state != State::IsHeld).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    fn connect(line: &Line) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(("127.0.0.1", line.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn answers(line: &Line) -> bool {
        let mut stream = connect(line);
        let _ = stream.write_all(b"x");
        stream.read_exact(&mut [0]).is_ok()
    }

    /// A line to somebody who says each byte again.
    fn line_to_an_echo() -> Line {
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
        line
    }

    #[test]
    fn a_line_that_is_cut_breaks_connections_and_carries_again_when_it_is_mended() {
        let line = line_to_an_echo();
        let mut held = connect(&line);
        held.write_all(b"x").unwrap();
        held.read_exact(&mut [0]).unwrap();
        line.cut();
        assert_eq!(held.read(&mut [0]).unwrap_or_default(), 0, "the connection goes on");
        assert!(!answers(&line));
        line.mend();
        assert!(answers(&line));
    }
    #[test]
    fn what_is_sent_along_a_line_that_is_held_is_lost_and_the_connection_ends_with_the_cut() {
        let line = line_to_an_echo();
        let mut stream = connect(&line);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        line.hold();
        // Whoever has heard that a new one ends has seen everything else stand still.
        assert!(!answers(&line));
        stream.write_all(b"x").unwrap();
        line.cut();
        assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0, "what was sent has arrived");
    }
}
