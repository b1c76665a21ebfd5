//! The plant's own broker, for tests and the demo: `lineside-plant PORT`, on loopback, 0 for a free one.

mod order;

use anyhow::Context;
use order::InOrder;
use rmqtt::context::ServerContext;
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

/// Messages that wait for one client.
const QUEUE_MESSAGES_MAX: usize = 100_000;
/// Messages under way to one client.
const INFLIGHT_MAX: NonZeroU16 = NonZeroU16::new(256).expect("256 is not zero");
/// How long the broker keeps the session of a client that is away.
const SESSION: Duration = Duration::from_secs(3600);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).context("usage: lineside-plant PORT")?.parse()?;
    let listener = Builder::new()
        .name("plant")
        .laddr(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .reuseaddr(Some(true))
        .nodelay(true)
        .allow_anonymous(true)
        .max_mqueue_len(QUEUE_MESSAGES_MAX)
        .max_inflight(INFLIGHT_MAX)
        .session_expiry_interval(SESSION)
        .max_session_expiry_interval(SESSION)
        .message_expiry_interval(SESSION)
        .bind()?
        .tcp()?;
    let address = listener.local_addr()?;
    // Its measure of "busy" is the whole machine's load, and then it refuses clients.
    let context = ServerContext::new().busy_check_enable(false).build().await;
    InOrder::keep(&context).await;
    println!("mqtt {address}");
    MqttServer::new(context).listener_by_id(listener, address.port()).build().run().await?;
    Ok(())
}
