//! The broker's listener and its bounds.

use crate::bounds::{
    DEVICE_CONNECTIONS_MAX, DEVICE_QUEUE_MESSAGES_MAX, MESSAGE_EXPIRY, PACKET_BYTES_MAX,
};
use crate::broker::Door;
use crate::error::Error;
use rmqtt::context::ServerContext;
use rmqtt::hook::Type;
use rmqtt::net::Builder;
use rmqtt::server::MqttServer;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use tokio::task::JoinHandle;

/// Messages on their way to one client.
const INFLIGHT_MAX: NonZeroU16 =
    NonZeroU16::new(DEVICE_QUEUE_MESSAGES_MAX).expect("a queue has room for something");

/// What a broker and the ways to and from it have in common.
pub(crate) async fn context() -> ServerContext {
    ServerContext::new()
        .mqtt_max_sessions(DEVICE_CONNECTIONS_MAX as isize)
        // Its measure of "busy" is the whole machine's load, and then it refuses devices.
        .busy_check_enable(false)
        .task_exec_workers(256)
        .task_exec_queue_max(50_000)
        .build()
        .await
}

/// A broker that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    address: SocketAddr,
    running: JoinHandle<rmqtt::Result<()>>,
}

impl Broker {
    /// Listens at `address` for at most so many devices at a time.
    ///
    /// # Errors
    /// [`Error::Conflict`] names the port if another program has it.
    pub async fn start(
        context: ServerContext,
        address: SocketAddr,
        connections_max: usize,
        door: Door,
    ) -> Result<Broker, Error> {
        let register = context.extends.hook_mgr().register();
        for kind in [
            Type::ClientAuthenticate,
            Type::MessagePublishCheckAcl,
            Type::ClientSubscribeCheckAcl,
            Type::MessageDropped,
        ] {
            register.add(kind, Box::new(door.clone())).await;
        }
        register.start().await;
        let listener = Builder::new()
            .name("lineside")
            .laddr(address)
            // So that a restart need not wait until old connections are forgotten.
            .reuseaddr(Some(true))
            .nodelay(true)
            .allow_anonymous(false)
            .max_connections(connections_max)
            .max_packet_size(PACKET_BYTES_MAX)
            .max_mqueue_len(usize::from(DEVICE_QUEUE_MESSAGES_MAX))
            .max_inflight(INFLIGHT_MAX)
            .max_clientid_len(64)
            .max_topic_levels(8)
            .max_subscriptions(16)
            .message_expiry_interval(MESSAGE_EXPIRY)
            .session_expiry_interval(MESSAGE_EXPIRY)
            .max_session_expiry_interval(MESSAGE_EXPIRY)
            .bind()
            .and_then(|listener| listener.tcp())
            .map_err(|error| not_bound("--mqtt", address, io_error(error)))?;
        let address =
            listener.local_addr().map_err(|error| not_bound("--mqtt", address, io_error(error)))?;
        let server = MqttServer::new(context).listener_by_id(listener, address.port()).build();
        Ok(Broker { address, running: tokio::spawn(server.run()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until it ends, which it does only by itself when something is broken; says why.
    pub async fn ended(&mut self) -> String {
        match (&mut self.running).await {
            Ok(Ok(())) => "it listens no longer".into(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => error.to_string(),
        }
    }

    /// Takes no further connections.
    pub fn stop(&self) {
        self.running.abort();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn io_error(error: rmqtt::Error) -> io::Error {
    error.downcast::<io::Error>().unwrap_or_else(|error| io::Error::other(format!("{error:#}")))
}

/// Says why nothing listens at an address, and what to do.
pub(crate) fn not_bound(setting: &str, address: SocketAddr, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AddrInUse {
        let (ip, port) = (address.ip(), address.port());
        return Error::Conflict(format!(
            "port {port} of {ip} is in use by another program: \
             stop it, or give another port, as in {setting} {ip}:0"
        ));
    }
    Error::File { doing: format!("listen at {address} ({setting})"), source: error }
}
