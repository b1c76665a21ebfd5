//! One server: put together, started, stopped.

use crate::access::{Administrator, random_hex};
use crate::api;
use crate::artifact::{Artifacts, Blobs};
use crate::broker::{Broker, Guard, not_bound};
use crate::config::Config;
use crate::descriptors::Connections;
use crate::fleet::Fleet;
use crate::http::BoundedListener;
use crate::ingest::{self, Link, Pace, Telemetry};
use crate::registry::Registry;
use crate::release::{Director, ServerKeys, SignedDocuments};
use crate::store::{DataFolder, Readers, Store};
use anyhow::Context;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long requests under way may take when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the server's own connection to its broker may take.
const LISTEN_PATIENCE: Duration = Duration::from_secs(20);

/// A server under way.
pub struct Server {
    http: SocketAddr,
    token_file: PathBuf,
    broker: Broker,
    fleet: Arc<Fleet>,
    serving: JoinHandle<std::io::Result<()>>,
    reading: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    // Last, so that the folder is free for another server only when this one is gone.
    _folder: DataFolder,
}

impl Server {
    /// Opens the data folder, starts broker and HTTP interface, and writes both addresses to
    /// `endpoints.json` there. When it returns, nothing that a device says is missed.
    ///
    /// # Errors
    /// A chain of sentences: folder in use, port in use, damaged files.
    pub async fn start(config: Config) -> anyhow::Result<Server> {
        let folder = DataFolder::open(&config.data)?;
        let store = Arc::new(Store::open(&folder.database()?).await?);
        let administrator = Administrator::open(&folder)?;
        let keys = Arc::new(ServerKeys::open(&folder)?);
        let artifacts = Artifacts::new(Blobs::open(&folder).await?, store.clone());
        let registry = Registry::new(store.clone());
        let documents = SignedDocuments::new(store.clone(), artifacts.clone(), keys.clone());
        let director = Director::new(store.clone(), documents.clone(), keys.clone());

        let listener = TcpListener::bind(config.http)
            .await
            .map_err(|error| not_bound("--http", config.http, error))?;
        let http = listener.local_addr().context("the HTTP listener has no address")?;
        let internal_password = random_hex()?;
        let guard = Guard::new(registry.clone(), &internal_password);
        let broker = Broker::start(config.mqtt, guard.clone()).await?;

        let session = ingest::connect(broker.address(), &internal_password);
        let fleet = Arc::new(Fleet {
            telemetry: Telemetry::new(store.clone()),
            link: Link::new(session.client()),
            store,
            administrator,
            registry,
            artifacts,
            keys,
            documents,
            director,
            guard,
            pace: Pace::default(),
        });
        let (listening, mut is_listening) = watch::channel(false);
        let reading = tokio::spawn(session.read(fleet.clone(), listening));
        timeout(LISTEN_PATIENCE, is_listening.wait_for(|listening| *listening))
            .await
            .context("the server's own connection to its broker takes too long")?
            .context("the server's own connection to its broker failed")?;

        let (stop, stopped) = oneshot::channel::<()>();
        let router = api::router(fleet.clone());
        let listener = BoundedListener::new(listener, Connections::allowed().http);
        let serving = tokio::spawn(async move {
            let stopped = async {
                // Dropping the sender means to stop, too.
                let _ = stopped.await;
            };
            axum::serve(listener, router).with_graceful_shutdown(stopped).await
        });
        let endpoints =
            json!({ "http": format!("http://{http}"), "mqtt": broker.address().to_string() });
        folder.write("endpoints.json", format!("{endpoints}\n").as_bytes(), Readers::All)?;
        Ok(Server {
            http,
            token_file: folder.join(crate::access::TOKEN_FILE),
            broker,
            fleet,
            serving,
            reading,
            stop: Some(stop),
            _folder: folder,
        })
    }

    /// Where pages and HTTP interface are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the broker is.
    pub fn mqtt(&self) -> SocketAddr {
        self.broker.address()
    }

    /// The file with the administrator's token.
    pub fn token_file(&self) -> PathBuf {
        self.token_file.clone()
    }

    /// Waits until the HTTP interface ends, which it does only by itself when something is broken.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.serving)
            .await
            .context("the HTTP interface broke down")?
            .context("the HTTP interface ended")
    }

    /// Stops: ends what is under way and closes the database.
    pub async fn stop(mut self) {
        self.broker.stop();
        drop(self.stop.take());
        if !self.serving.is_finished() && timeout(STOP_PATIENCE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        self.reading.abort();
        self.fleet.store.close().await;
    }
}
