//! What serves requests, with workers that are threads and die when a test wants it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::worker::message::{Bundle, ToWorker, frame_within, read, read_within};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_agent::worker::serving::message::{FromServing, SERVING_BYTES_MAX, ToServing};
use lineside_agent::worker::serving::{AskError, Counts, Means, Rule, Seat, Serving, Wanted, keep};
use lineside_bundle::{Digest, ReleaseId};
use lineside_runtime::{Data, Engines, Offer, Offered, Tensor};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// A worker dies over a request that begins with this number.
const DEADLY: f32 = 666.0;
/// Or says something else than was asked.
const CONFUSING: f32 = 777.0;

/// Starts threads that give back what they are given.
struct Threads;

impl Starter for Threads {
    fn start(&self) -> std::io::Result<Started> {
        let (ours, theirs) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let (life, _killed) = oneshot::channel();
        std::thread::spawn(move || {
            let how = work(theirs);
            let _ = tell.send(End::Itself(how.err().map_or("closed".into(), |it| it.to_string())));
        });
        Ok(Started { stream: ours, ended, life: Life { _end: life } })
    }
}

fn work(mut stream: UnixStream) -> std::io::Result<()> {
    let Some(ToWorker::Serve(bundle, _)) = read(&mut stream)? else { panic!("not told to serve") };
    let say = |said: &FromServing| stream_out(&stream, said);
    if bundle.manifest == b"deadly" {
        return Err(std::io::Error::other("aborted"));
    }
    if bundle.manifest == b"broken" {
        return say(&FromServing::Failed("it is broken".into()));
    }
    let offer = || Offer { name: "x".into(), datatype: "FP32".into(), shape: vec![None, Some(1)] };
    let offered = Offered {
        stage: "judge".into(),
        inputs: vec![offer()],
        outputs: vec![offer()],
        has_rows: true,
    };
    say(&FromServing::Offers(vec![offered]))?;
    let mut input = stream.try_clone()?;
    while let Some(ToServing::Run { batch, requests, .. }) =
        read_within::<ToServing>(&mut input, SERVING_BYTES_MAX)?
    {
        let begins =
            |with: f32| requests.iter().any(|it| it[0].data().number(0) == Some(f64::from(with)));
        if begins(DEADLY) {
            return Err(std::io::Error::other("over what it was asked"));
        }
        let batch = if begins(CONFUSING) { batch + 1 } else { batch };
        say(&FromServing::Ran { batch, answers: requests.into_iter().map(Ok).collect() })?;
    }
    let _ = stream.flush();
    Ok(())
}

fn stream_out(mut stream: &UnixStream, said: &FromServing) -> std::io::Result<()> {
    stream.write_all(&frame_within(said, SERVING_BYTES_MAX)?)
}

/// A release that is to be served, by its version.
fn wanted(version: &str, manifest: &[u8]) -> Option<Wanted> {
    let (name, digest) = ("echo".parse().unwrap(), Digest::of(version.as_bytes()));
    let release = ReleaseId { name, version: version.parse().unwrap(), digest, size: 1 };
    let bundle = Bundle {
        manifest: manifest.to_vec(),
        blobs: "/nowhere".into(),
        memory_mib: 64,
        engines: Engines::default(),
        plugin_traps_max: None,
        cache: "/nowhere".into(),
        cache_key: [0; 32],
    };
    Some(Wanted { release, bundle })
}

struct Bench {
    want: watch::Sender<Option<Wanted>>,
    seat: watch::Receiver<Seat>,
    counts: Arc<Counts>,
}

impl Bench {
    fn new(max_wait_ms: u64) -> Bench {
        let rule = Rule { max_wait: Duration::from_millis(max_wait_ms), rows_max: 8 };
        let means = Means { starter: Arc::new(Threads), patience: PATIENCE, rule, rows_max: 64 };
        let (want, wanted) = watch::channel(None);
        let (tell, seat) = watch::channel(Seat::Vacant("nothing yet".into()));
        let counts = Arc::new(Counts::default());
        tokio::spawn(keep("line".into(), means, wanted, tell, counts.clone()));
        Bench { want, seat, counts }
    }

    async fn serves(&mut self, version: &str) -> Serving {
        let is_it = |seat: &Seat| matches!(seat, Seat::Served(it) if it.release.version.to_string() == version);
        let seat = timeout(PATIENCE, self.seat.wait_for(is_it)).await.unwrap().unwrap();
        match &*seat {
            Seat::Served(serving) => serving.clone(),
            Seat::Vacant(reason) => panic!("{reason}"),
        }
    }
}

async fn ask(serving: Serving, value: f32) -> Result<f64, AskError> {
    let tensor = Tensor::new(vec![1, 1], Data::F32(vec![value])).unwrap();
    let answer =
        serving.ask(&serving.models["judge"], vec![tensor], Instant::now() + PATIENCE).await?;
    Ok(answer[0].data().number(0).unwrap())
}

#[tokio::test]
async fn a_request_that_kills_two_workers_is_given_up_and_those_beside_it_are_answered() {
    for deadly in [DEADLY, CONFUSING] {
        let mut bench = Bench::new(200);
        bench.want.send_replace(wanted("1", b""));
        let serving = bench.serves("1").await;
        // All of them are run together at first.
        let asking = [1.0, deadly, 2.0].map(|value| tokio::spawn(ask(serving.clone(), value)));
        let mut answers = Vec::new();
        for asked in asking {
            answers.push(timeout(PATIENCE, asked).await.unwrap().unwrap());
        }
        assert_eq!((&answers[0], &answers[2]), (&Ok(1.0), &Ok(2.0)));
        assert!(matches!(answers[1], Err(AskError::Died(_))), "{answers:?}");
        assert_eq!(bench.counts.deaths.load(Relaxed), 2);
    }
}

#[tokio::test]
async fn who_was_let_in_by_a_release_is_answered_by_it_although_another_has_taken_its_place() {
    let mut bench = Bench::new(0);
    bench.want.send_replace(wanted("1", b""));
    let first = bench.serves("1").await;
    bench.want.send_replace(wanted("2", b""));
    let second = bench.serves("2").await;
    assert_eq!(ask(first, 1.0).await, Ok(1.0));
    assert_eq!(ask(second, 2.0).await, Ok(2.0));
}

#[tokio::test]
async fn a_release_whose_models_cannot_be_loaded_is_told_with_the_reason() {
    let mut bench = Bench::new(0);
    bench.want.send_replace(wanted("1", b""));
    bench.serves("1").await;
    bench.want.send_replace(wanted("2", b"broken"));
    let is_vacant = |seat: &Seat| matches!(seat, Seat::Vacant(reason) if reason == "it is broken");
    timeout(PATIENCE, bench.seat.wait_for(is_vacant)).await.unwrap().unwrap();
    bench.want.send_replace(wanted("1", b""));
    bench.serves("1").await;
}

#[tokio::test]
async fn a_release_over_which_workers_die_as_they_load_it_is_told_and_nothing_else_is_served_for_it()
 {
    let mut bench = Bench::new(0);
    bench.want.send_replace(wanted("1", b""));
    bench.serves("1").await;
    bench.want.send_replace(wanted("2", b"deadly"));
    let is_vacant = |seat: &Seat| match seat {
        Seat::Vacant(reason) => {
            reason.contains("died as they loaded") && reason.contains("aborted")
        }
        Seat::Served(_) => false,
    };
    timeout(PATIENCE, bench.seat.wait_for(is_vacant)).await.unwrap().unwrap();
    assert_eq!(bench.counts.deaths.load(Relaxed), 2);
    bench.want.send_replace(wanted("3", b""));
    bench.serves("3").await;
}

#[tokio::test]
async fn what_is_served_goes_on_where_the_same_release_cannot_be_loaded_anew() {
    let mut bench = Bench::new(0);
    bench.want.send_replace(wanted("1", b""));
    let serving = bench.serves("1").await;
    let mut seats = bench.seat.clone();
    seats.mark_unchanged();
    // As where another engine is to run it.
    bench.want.send_replace(wanted("1", b"deadly"));
    let died = async {
        while bench.counts.deaths.load(Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, died).await.unwrap();
    // All tasks are of one thread: whoever keeps the seat hears of the second death in his turn.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    bench.want.send_replace(wanted("2", b""));
    // The next seat of all is the next release's.
    timeout(PATIENCE, seats.changed()).await.unwrap().unwrap();
    let seat = seats.borrow_and_update().clone();
    assert!(matches!(&seat, Seat::Served(it) if it.release.version.to_string() == "2"), "{seat:?}");
    assert_eq!(ask(serving, 1.0).await, Ok(1.0));
}
