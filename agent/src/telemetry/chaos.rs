//! Everything at once that may happen to telemetry on its way, by seeds: messages and acknowledgements
//! that are lost, repeated or late, a broker that dies with what it holds, a server that dies before it
//! says what it has stored, an agent that is killed, a full disk, clocks that jump, weeks without a
//! connection. In the end the server's books have what the device has accepted, each of it once.

use crate::database::Database;
use crate::telemetry::{TelemetryHandle, TelemetryParts};
use crate::test_medium::Disk;
use crate::worker::Witness;
use crate::worker::route::{Failure, Settled};
use lineside_bundle::{Digest, ReleaseId};
use lineside_runtime::{Part, Reading};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Ack, Body, Telemetry, event};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SEEDS: u64 = 6;
const STEPS: usize = 700;
/// Bytes of the spool: far less than what is told while nobody is there.
const SPOOL_BYTES: u64 = 96 << 10;
/// Of a hundred messages so many are lost, each way.
const LOST_PERCENT: u64 = 10;
const PATIENCE: Duration = Duration::from_secs(60);
/// The release that ends the interval of the last one; its own never ends.
const LAST: &str = "last";

/// Numbers from a seed (G. Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn is_lost(&mut self) -> bool {
        self.below(100) < LOST_PERCENT
    }
}

/// What was counted: frames, readings, errors, latencies, dropped readings, by release; events.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sums {
    releases: BTreeMap<String, [u64; 4]>,
    dropped: u64,
    events: u64,
}

/// A server that keeps what it has stored when it dies, and knows repeats by their numbers.
#[derive(Default)]
struct Server {
    stored: BTreeMap<(u64, u64), (u16, Vec<u8>)>,
    repeats: usize,
}

impl Server {
    fn store(&mut self, message: &[u8]) -> Vec<Ack> {
        let records = decode::<Telemetry>(message).unwrap().records;
        let mut acks = Vec::new();
        for record in records {
            let (boot, sequence) = (record.boot, record.sequence);
            let said = (record.code, record.body);
            let is_known = self.stored.contains_key(&(boot, sequence));
            self.repeats += usize::from(is_known);
            let known = self.stored.entry((boot, sequence)).or_insert_with(|| said.clone());
            assert_eq!(*known, said, "{boot}/{sequence} says something else than before");
            acks.push(Ack { boot, ranges: vec![(sequence, sequence)] });
        }
        acks
    }

    /// Its books, how many intervals others stand for, and what gave way.
    fn books(&self) -> (Sums, u64, Vec<String>) {
        let (mut sums, mut merged, mut gave_way) = (Sums::default(), 0, Vec::new());
        for ((boot, sequence), (code, body)) in &self.stored {
            let (boot, sequence, code, body) = (*boot, *sequence, *code, body.clone());
            let record = lineside_wire::v1::Record { boot, sequence, backfill: false, code, body };
            match record.read().unwrap() {
                Body::Interval(interval) => {
                    let count = |counts: &[(String, u64)]| counts.iter().map(|(_, n)| n).sum();
                    let errors: u64 = count(&interval.errors);
                    let latencies = interval.latency_us.count();
                    let more = [interval.frames, interval.readings, errors, latencies];
                    let sum = sums.releases.entry(interval.release.version).or_default();
                    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                    sums.dropped += count(&interval.dropped);
                    merged += interval.intervals - 1;
                }
                Body::Event(event) if event.kind == event::RECORDS_DROPPED => {
                    gave_way.push(event.text);
                }
                Body::Event(_) => sums.events += 1,
                Body::Alert(_) => panic!("no rule is given"),
                Body::Quality(_) => panic!("no outcome is told"),
                Body::Unknown(code) => panic!("nobody has sent {code}"),
            }
        }
        (sums, merged, gave_way)
    }
}

struct World {
    chance: Chance,
    disk: Disk,
    database: Arc<Database>,
    folder: TempDir,
    device: TelemetryHandle,
    boot: u64,
    /// What the device was told.
    told: Sums,
    frame: u64,
    second: i64,
    version: &'static str,
    /// Messages at the broker, each way.
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Ack>,
    server: Server,
}

fn slot() -> SlotName {
    "line".parse().unwrap()
}

fn device(database: &Arc<Database>, folder: &TempDir, boot: u64) -> TelemetryHandle {
    TelemetryHandle::open(TelemetryParts {
        database: database.clone(),
        state_dir: folder.path().to_owned(),
        boot,
        interval: Duration::from_secs(60),
        spool_bytes_max: SPOOL_BYTES,
        spool_days_max: 800,
        backfill_bytes_per_second: 1 << 30,
        answers: Default::default(),
        slots: BTreeMap::from([(slot(), false)]),
        capturing: Default::default(),
        policy: tokio::sync::watch::Sender::default().subscribe(),
    })
    .unwrap()
}

impl World {
    fn of(seed: u64) -> World {
        let (disk, folder) = (Disk::of(64 << 20), tempfile::tempdir().unwrap());
        let database = disk.database();
        World {
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            device: device(&database, &folder, 1),
            disk,
            database,
            folder,
            boot: 1,
            told: Sums::default(),
            frame: 0,
            second: 1_700_000_000,
            version: "1",
            up: VecDeque::new(),
            down: VecDeque::new(),
            server: Server::default(),
        }
    }

    /// Frames of readings whose time goes on, jumps ahead or back.
    fn tell(&mut self) {
        for _ in 0..1 + self.chance.below(12) {
            self.second += match self.chance.below(40) {
                0 => 86_400 * 365,
                1 => -86_400 * 365,
                2..6 => -30,
                _ => i64::try_from(self.chance.below(50)).unwrap(),
            };
            if self.chance.below(60) == 0 {
                self.version = if self.version == "1" { "2" } else { "1" };
            }
            self.frame();
        }
        match self.chance.below(12) {
            0 => {
                self.device.event("line", event::ALARM, "high");
                self.told.events += 1;
            }
            1 => {
                self.device.dropped(&slot(), "malformed", 3);
                self.told.dropped += 3;
            }
            _ => {}
        }
    }

    fn frame(&mut self) {
        let readings = 1 + self.chance.below(4);
        let is_answered = self.chance.below(8) > 0;
        let (first, last) = (self.frame, self.frame + readings - 1);
        self.frame += readings;
        let reading = |sequence| {
            let values = vec![sequence as f64 % 17.0];
            Arc::new(Reading { key: String::new(), sequence, time_unix_ns: 0, values })
        };
        let settled = Settled {
            key: String::new(),
            frame: first,
            first,
            last,
            time_unix_ns: self.second * 1_000_000_000,
            elapsed: Duration::from_micros(100 + self.chance.below(900)),
            result: match is_answered {
                true => Ok(vec![Part { outputs: BTreeMap::new(), alarm: None }]),
                false => Err(Failure::new("stage", "it is NaN")),
            },
            inputs: (first..=last).map(reading).collect(),
            more: Default::default(),
        };
        let release = ReleaseId {
            name: "echo".parse().unwrap(),
            version: self.version.parse().unwrap(),
            digest: Digest::of(self.version.as_bytes()),
            size: 7,
        };
        self.device.frames(&slot(), vec![(Arc::new(release), settled)]);
        let answered = u64::from(is_answered);
        let more = [1, readings, 1 - answered, answered];
        let sums = self.told.releases.entry(self.version.to_owned()).or_default();
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }

    /// Sends what there is, by a line and a broker that lose some of it.
    async fn send(&mut self) {
        let Some(batch) = self.device.next_batch().await else { return };
        self.device.sent(&batch);
        let message = batch.message;
        if !self.chance.is_lost() {
            if self.chance.is_lost() {
                self.up.push_back(message.clone());
            }
            self.up.push_back(message);
        }
    }

    /// The server takes a message, in whatever order they come, and may die before it says so.
    fn deliver(&mut self) {
        if self.up.is_empty() {
            return;
        }
        let at = self.chance.below(self.up.len() as u64) as usize;
        let message = self.up.remove(at).unwrap();
        let acks = self.server.store(&message);
        let dies = self.chance.is_lost();
        for ack in acks {
            if !dies && !self.chance.is_lost() {
                self.down.push_back(decode(&encode(&ack).unwrap()).unwrap());
            }
        }
    }

    fn hear(&mut self) {
        for _ in 0..self.down.len().min(40) {
            self.device.acked(self.down.pop_front().unwrap());
        }
    }

    /// Waits until all that was told is on disk: it is accepted then.
    async fn accepted(&self) {
        let began = Instant::now();
        while !self.device.flush().await {
            assert!(began.elapsed() < PATIENCE, "the disk works, and nothing is written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The agent is killed, and starts again; its start may not have been counted.
    async fn kill(&mut self) {
        self.accepted().await;
        // What it was at ends with it.
        let began = Instant::now();
        while !self.device.is_idle() {
            assert!(began.elapsed() < PATIENCE, "somebody holds on to it");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.boot += u64::from(self.chance.below(5) > 0);
        self.device = device(&self.database, &self.folder, self.boot);
    }

    async fn step(&mut self) {
        match self.chance.below(100) {
            0..45 => {
                self.tell();
                // More than a thousand records in memory would give way.
                if self.chance.below(8) == 0 {
                    self.device.flush().await;
                }
            }
            45..65 => self.send().await,
            65..80 => self.deliver(),
            80..90 => self.hear(),
            // A new connection.
            90..95 => self.device.connected(),
            // The broker dies.
            95 => {
                self.up.clear();
                self.down.clear();
            }
            96 => self.kill().await,
            97 => {
                // Nobody is there for long.
                for _ in 0..60 {
                    self.tell();
                    if self.chance.below(3) == 0 {
                        self.device.flush().await;
                    }
                }
            }
            _ => {
                self.device.flush().await;
            }
        }
    }

    /// The disk takes nothing for a while.
    async fn full(&mut self) {
        match self.chance.below(2) {
            0 => self.disk.fill(),
            _ => self.disk.refuse(),
        }
        for _ in 0..6 {
            self.tell();
            self.device.flush().await;
            self.send().await;
            self.deliver();
            self.hear();
        }
        self.disk.resize(64 << 20);
    }

    /// Everything works again; gives when all has arrived.
    async fn end(&mut self) {
        self.version = LAST;
        self.frame();
        self.accepted().await;
        let began = Instant::now();
        let mut idle = 0;
        // Acknowledgements are taken beside: what was heard of is gone a little later.
        while idle < 20 {
            assert!(began.elapsed() < PATIENCE, "it does not come to an end");
            self.device.connected();
            match self.device.next_batch().await {
                Some(batch) => {
                    self.device.sent(&batch);
                    for ack in self.server.store(&batch.message) {
                        self.device.acked(ack);
                    }
                    idle = 0;
                }
                None => idle += 1,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn whatever_happens_on_the_way_the_books_have_what_was_accepted_once() {
    let (mut merged, mut repeats) = (0, 0);
    for seed in 1..=SEEDS {
        let mut world = World::of(seed);
        for step in 0..STEPS {
            world.step().await;
            if step == STEPS / 3 || step == 2 * STEPS / 3 {
                world.full().await;
            }
        }
        world.end().await;
        let (mut books, more, gave_way) = world.server.books();
        books.releases.remove(LAST);
        world.told.releases.remove(LAST);
        assert_eq!(gave_way, Vec::<String>::new(), "seed {seed}: there was room");
        assert_eq!(books, world.told, "seed {seed}");
        merged += more;
        repeats += world.server.repeats;
    }
    // Else it has looked at little.
    assert!(merged > 100 && repeats > 100, "{merged} merged, {repeats} repeats");
}
