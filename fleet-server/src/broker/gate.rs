//! The way in for devices on other machines: by TLS, with a certificate each. It stands before the broker's own
//! listener, which is for this machine alone, and hands on what it lets in.

use crate::access::ADMINISTRATOR;
use crate::bounds::{CONNECT_BYTES_MAX, HANDSHAKE_MAX, LEAVING_MAX};
use crate::broker::{Ticket, Tickets};
use crate::fleet::{Fleet, to_its_end};
use crate::identity::Tls;
use axum::serve::Listener;
use futures::{SinkExt, StreamExt};
use lineside_identity::{Mark, Peer};
use rmqtt::codec::v5::{Codec, Connect, ConnectAck, ConnectAckReason, Packet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::codec::{Encoder, Framed};

/// Bytes that are read at once until a device has shown that it hears what is said.
const CHUNK: usize = 4_096;

/// Takes connections of other machines.
pub(crate) struct Gate {
    tls: Arc<Tls>,
    /// Where the broker itself listens.
    broker: SocketAddr,
    tickets: Tickets,
    // Weak, because the fleet's sessions end what this has let in.
    fleet: Weak<Fleet>,
}

impl Gate {
    /// A gate before the broker at `broker`, whose guard takes `tickets`.
    pub fn new(tls: Arc<Tls>, broker: SocketAddr, tickets: Tickets, fleet: Weak<Fleet>) -> Gate {
        Gate { tls, broker, tickets, fleet }
    }

    /// Lets in who comes, so many at a time; others wait in the system's queue.
    pub async fn keep_open(self, mut listener: TcpListener, connections_max: usize) {
        let gate = Arc::new(self);
        let room = Arc::new(Semaphore::new(connections_max));
        loop {
            let place = room.clone().acquire_owned().await.expect("nobody closes the semaphore");
            let (stream, address) = Listener::accept(&mut listener).await;
            let gate = gate.clone();
            tokio::spawn(async move {
                if let Err(error) = gate.let_in(stream).await {
                    tracing::debug!("{address}: its connection to the broker ended: {error}");
                }
                drop(place);
            });
        }
    }

    /// One connection, from its beginning to its end.
    async fn let_in(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let encrypted = timeout(HANDSHAKE_MAX, self.tls.accept(stream));
        let (stream, peer) = encrypted.await.map_err(|_| too_slow())??;
        let mut client = Framed::new(stream, Codec::new(CONNECT_BYTES_MAX, 0));
        let first = timeout(HANDSHAKE_MAX, client.next()).await.map_err(|_| too_slow())?;
        let mut connect = match first {
            Some(Ok((Packet::Connect(connect), _))) => connect,
            Some(Ok(_)) => return Err(io::Error::other("it does not begin with CONNECT")),
            Some(Err(error)) => return Err(io::Error::other(error.to_string())),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let Some(ticket) = self.shown(peer.as_ref(), &mut connect) else {
            let refused = ConnectAck {
                reason_code: ConnectAckReason::NotAuthorized,
                ..ConnectAck::default()
            };
            let refused = client.send(Packet::ConnectAck(Box::new(refused)));
            timeout(LEAVING_MAX, refused)
                .await
                .map_err(|_| too_slow())?
                .map_err(io::Error::other)?;
            return timeout(LEAVING_MAX, client.get_mut().shutdown()).await?;
        };
        let mark = peer.as_ref().and_then(|_| mark(&connect));
        let mut parts = client.into_parts();
        let mut opening = std::mem::take(&mut parts.write_buf);
        parts.codec.encode(Packet::Connect(connect), &mut opening).map_err(io::Error::other)?;
        // What it has said in one go with that.
        opening.extend_from_slice(&parts.read_buf);

        let mut broker = TcpStream::connect(self.broker).await?;
        broker.set_nodelay(true)?;
        broker.write_all(&opening).await?;
        carry(parts.io, broker, async || match &peer {
            Some(peer) => self.is_wanted(peer, mark).await,
            None => true,
        })
        .await?;
        drop(ticket);
        Ok(())
    }

    /// Makes of what somebody wants to connect with what the broker's guard is to see; none who may not.
    fn shown(&self, peer: Option<&Peer>, connect: &mut Connect) -> Option<Option<Ticket>> {
        let Some(peer) = peer else {
            // Passwords of devices are for this machine; whoever hears of alerts has no certificate.
            let user: Option<&str> = connect.username.as_deref();
            return (user == Some(ADMINISTRATOR)).then_some(None);
        };
        // Who connects under another's name would end the other's session.
        let is_own = <str as PartialEq>::eq(&connect.client_id, peer.device().as_str());
        let ticket = is_own.then(|| self.tickets.issue(peer.clone())).flatten()?;
        connect.username = Some(peer.device().as_str().into());
        connect.password = Some(ticket.text().to_owned().into());
        Some(Some(ticket))
    }

    /// Whether a device that has just shown that it hears what is said is one of the fleet, and not a copy of itself.
    /// Who was revoked since the guard let him in had no session then that could have been ended.
    async fn is_wanted(&self, peer: &Peer, mark: Option<Mark>) -> bool {
        let Some(fleet) = self.fleet.upgrade() else { return false };
        let (peer, now) = (peer.clone(), OffsetDateTime::now_utc());
        to_its_end(async move { fleet.is_wanted(&peer, mark, now).await }).await
    }
}

/// Which of an agent's connections this is, where it says so.
fn mark(connect: &Connect) -> Option<Mark> {
    let (_, said) = connect.user_properties.iter().find(|(name, _)| name == Mark::PROPERTY)?;
    Mark::read(said)
}

/// Carries what both say until one of them ends. Once the client has answered what the broker said first,
/// `heard` is asked, and what comes after is carried only if it agrees.
async fn carry<C, B>(client: C, broker: B, heard: impl AsyncFnOnce() -> bool) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_broker, mut to_broker) = split(broker);
    let mut chunk = [0; CHUNK];
    // The broker speaks first: it says whether it lets the client in.
    let said = from_broker.read(&mut chunk).await?;
    to_client.write_all(&chunk[..said]).await?;
    to_client.flush().await?;
    let up = async {
        let said = from_client.read(&mut chunk).await?;
        if said > 0 && !heard().await {
            return Err(io::Error::other("it is not wanted any more, or there are two of it"));
        }
        to_broker.write_all(&chunk[..said]).await?;
        copy(&mut from_client, &mut to_broker).await?;
        // So that the broker reads to the end what was said.
        to_broker.shutdown().await
    };
    let down = async {
        copy(&mut from_broker, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::pin!(up, down);
    tokio::select! {
        ended = &mut up => {
            ended?;
            timeout(LEAVING_MAX, down).await?
        }
        // Whom the broker has done with says nothing more that counts.
        ended = &mut down => ended,
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it takes too long to say who it is")
}
