//! One server: put together, started, stopped.

use crate::access::{Administrator, People, RoleTokens};
use crate::api;
use crate::artifact::{Artifacts, Blobs, Deltas};
use crate::audit::Log;
use crate::broker::{self, Broker, Door, Gate, Guard, Link, Sessions, Tickets, not_bound};
use crate::config::{ClockSaid, Config};
use crate::descriptors::{Connections, Encrypted};
use crate::fleet::{Fleet, Logs};
use crate::http::{BoundedListener, serve};
use crate::identity::{
    Identities, Issuing, Reached, ServerCertificate, Tls, TlsConfig, open_authority,
};
use crate::ingest::{Ear, Pace, Telemetry, Turns};
use crate::monitor::{Alerts, Outbox, Overview, Policies};
use crate::registry::Registry;
use crate::release::{Clock, Director, Questions, Repository, ServerKeys, SignedDocuments};
use crate::rollout::Rollouts;
use crate::store::{DataFolder, Readers, Store};
use crate::strangers::Strangers;
use anyhow::{Context, anyhow};
use futures::FutureExt;
use futures::future::{join, select_all};
use serde_json::json;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long requests under way may take when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A server under way.
pub struct Server {
    http: SocketAddr,
    /// Where both are for others than this machine, if they are.
    reached: Option<Reached>,
    token_file: PathBuf,
    broker: Broker,
    fleet: Arc<Fleet>,
    serving: JoinHandle<()>,
    /// What is done beside answering: deltas are made, blobs swept, devices told what was signed, channels
    /// what has fired, and the log what is wrong here.
    chores: Vec<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
    // Locked while the addresses in it are this server's.
    _endpoints: File,
    // Last, so that the folder is free for another server only when this one is gone.
    _folder: DataFolder,
}

impl Server {
    /// Opens the data folder, starts broker and HTTP interface, and writes both addresses to
    /// `endpoints.json` there.
    ///
    /// # Errors
    /// A chain of sentences: folder in use, port in use, damaged files.
    pub async fn start(config: Config) -> anyhow::Result<Server> {
        let folder = DataFolder::open(&config.data)?;
        let store = Arc::new(match &config.database {
            Some(at) => Store::open_postgres(at).await?,
            None => Store::open(&folder.database()?).await?,
        });
        let administrator = Administrator::open(&folder)?;
        let keys = Arc::new(ServerKeys::open(&folder)?);
        let artifacts = Artifacts::new(Blobs::open(&folder).await?, store.clone());
        let registry = Registry::new(store.clone());
        let audit = Arc::new(Log::open(store.clone(), &registry, &keys).await?);
        let documents = SignedDocuments::new(store.clone(), artifacts.clone(), keys.clone());
        let clock = Arc::new(Clock::default());
        if config.clock == ClockSaid::Right {
            clock.confirm(OffsetDateTime::now_utc());
        }
        let repository = Repository::new(store.clone(), keys.clone(), clock.clone());
        let director =
            Director::new(store.clone(), documents.clone(), repository.clone(), keys.clone());
        let director = director.traced(config.traces.clone());
        let deltas = Deltas::start(artifacts.clone(), documents.clone(), store.clone());
        let sweeping = artifacts.clone().keep_swept();

        let (listener, http) = bound("--http", config.http).await?;
        let way = if config.tls.is_some() { Encrypted::Yes } else { Encrypted::No };
        let connections = Connections::allowed(way);
        let for_others = match config.tls {
            Some(tls) => Some(ForOthers::open(&folder, tls, OffsetDateTime::now_utc()).await?),
            None => None,
        };
        let issuing = for_others.as_ref().map(|others| others.issuing.clone());
        let identities = Identities::new(store.clone(), issuing);
        let tickets = Tickets::default();
        let guard = Guard::new(
            registry.clone(),
            identities.clone(),
            tickets.clone(),
            administrator.clone(),
        );
        let context = broker::context().await;
        let fleet = Arc::new(Fleet {
            telemetry: Telemetry::new(store.clone()),
            overview: Overview::new(store.clone(), artifacts.clone()),
            alerts: Alerts::new(store.clone()),
            policies: Policies::default(),
            due: Notify::new(),
            acting: Mutex::default(),
            outbox: Outbox::new(store.clone(), Arc::new(config.channels)),
            tokens: RoleTokens::new(store.clone()),
            people: People::new(store.clone()),
            strangers: Strangers::default(),
            ear: Ear::default(),
            link: Link::new(context.clone()),
            sessions: Sessions::of(context.clone()),
            questions: Questions::default(),
            logs: Logs::default(),
            rollouts: Arc::new(Rollouts::new(store.clone())),
            traces: config.traces.clone(),
            store,
            audit,
            administrator,
            registry,
            identities,
            artifacts,
            keys,
            documents,
            repository,
            director,
            clock,
            guard: guard.clone(),
            pace: Pace::default(),
            reminding: Turns::default(),
            reminded: Turns::default(),
        });
        let mut chores = vec![
            deltas,
            sweeping,
            tokio::spawn(fleet.clone().keep_telling()),
            tokio::spawn(fleet.clone().keep_looking()),
            tokio::spawn(fleet.audit.clone().keep_signing()),
            tokio::spawn(fleet.clone().keep_acting()),
            tokio::spawn(fleet.clone().keep_rolling()),
            tokio::spawn(fleet.clone().keep_giving()),
        ];
        for channel in fleet.outbox.channels.keys() {
            chores.push(tokio::spawn(fleet.clone().keep_delivering(channel.clone())));
        }
        let door = Door::new(guard, Arc::downgrade(&fleet));
        let broker = Broker::start(context, config.mqtt, connections.devices, door).await?;

        let (stop, stopped) = oneshot::channel::<()>();
        // Dropping the sender means to stop, too.
        let stopped = stopped.map(|_| ()).shared();
        let router = api::router(fleet.clone());
        let mut endpoints =
            json!({ "http": format!("http://{http}"), "mqtt": broker.address().to_string() });
        // Others cannot take the places of those who sit at this machine.
        let (mine, theirs) = match for_others {
            Some(_) => (connections.http / 4, connections.http - connections.http / 4),
            None => (connections.http, 0),
        };
        let listener = BoundedListener::new(listener, mine);
        let serving = serve(listener, None, router.clone(), stopped.clone());
        let mut reached = None;
        let serving = match for_others {
            Some(others) => {
                let places = &others.issuing.reached;
                endpoints["https"] = places.https.as_str().into();
                endpoints["mqtts"] = places.mqtts.as_str().into();
                reached = Some(places.clone());
                chores.push(tokio::spawn(others.certificate.keep_fresh()));
                let (tls, weak) = (others.tls.clone(), Arc::downgrade(&fleet));
                let gate = Gate::new(tls, broker.address(), tickets, weak);
                chores.push(tokio::spawn(gate.keep_open(others.broker, connections.devices)));
                let listener = BoundedListener::new(others.listener, theirs);
                let theirs = serve(listener, Some(others.tls), router, stopped);
                tokio::spawn(join(serving, theirs).map(|_| ()))
            }
            None => tokio::spawn(serving),
        };
        let endpoints = format!("{endpoints}\n");
        let endpoints = folder.write_held("endpoints.json", endpoints.as_bytes(), Readers::All)?;
        Ok(Server {
            http,
            reached,
            token_file: folder.join(crate::access::TOKEN_FILE),
            broker,
            fleet,
            serving,
            chores,
            stop: Some(stop),
            _endpoints: endpoints,
            _folder: folder,
        })
    }

    /// A line for each way to reach it: what it is, and where.
    pub fn places(&self) -> String {
        let mine = format!("http http://{}\nmqtt {}\n", self.http, self.broker.address());
        let others = self.reached.as_ref();
        let others = others
            .map(|at| format!("https {}\nmqtts {}\n", at.https, at.mqtts))
            .unwrap_or_default();
        mine + &others
    }

    /// The file with the administrator's token.
    pub fn token_file(&self) -> PathBuf {
        self.token_file.clone()
    }

    /// Waits until HTTP interface, broker or a chore end, which they do only by themselves when something
    /// is broken. The server is worth nothing then, or less by the day: whoever watches over it starts it
    /// again.
    ///
    /// # Errors
    /// Which of them ended, and why.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            ended = &mut self.serving => {
                ended.context("the HTTP interface broke down")?;
                Err(anyhow!("the HTTP interface ended"))
            }
            (ended, ..) = select_all(&mut self.chores) => {
                ended.context("what the server does beside answering broke down")?;
                Err(anyhow!("what the server does beside answering ended"))
            }
            why = self.broker.ended() => Err(anyhow!("the broker broke down: {why}")),
        }
    }

    /// Stops: ends what is under way and closes the database.
    pub async fn stop(mut self) {
        self.broker.stop();
        drop(self.stop.take());
        if !self.serving.is_finished() && timeout(STOP_PATIENCE, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
        // What they were at is done at the next start.
        self.chores.iter().for_each(JoinHandle::abort);
        self.fleet.ear.close().await;
        self.fleet.store.close().await;
    }
}

/// How others than this machine are served.
struct ForOthers {
    listener: TcpListener,
    /// Where those come who want to the broker.
    broker: TcpListener,
    tls: Arc<Tls>,
    certificate: Arc<ServerCertificate>,
    issuing: Arc<Issuing>,
}

impl ForOthers {
    async fn open(
        folder: &DataFolder,
        config: TlsConfig,
        now: OffsetDateTime,
    ) -> anyhow::Result<ForOthers> {
        let authority = Arc::new(open_authority(folder, now)?);
        let certificate = Arc::new(ServerCertificate::make(authority.clone(), &config, now)?);
        let tls = Arc::new(Tls::new(&authority, certificate.clone())?);
        let (listener, address) = bound("[tls] http", config.http).await?;
        let (broker, broker_address) = bound("[tls] mqtt", config.mqtt).await?;
        let (lifetime, grace) = (config.lifetime, config.grace);
        let name = config.names.first().map(ToString::to_string).unwrap_or_default();
        let name = if name.contains(':') { format!("[{name}]") } else { name };
        let reached = Reached {
            https: format!("https://{name}:{}", address.port()),
            mqtts: format!("{name}:{}", broker_address.port()),
        };
        let issuing = Arc::new(Issuing { authority, lifetime, grace, reached });
        Ok(ForOthers { listener, broker, tls, certificate, issuing })
    }
}

async fn bound(setting: &str, at: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(at).await.map_err(|error| not_bound(setting, at, error))?;
    let address = listener.local_addr().context("a listener has no address")?;
    Ok((listener, address))
}
