//! A device that joins, waits, is accepted and renews, against a server that says what the test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/authority.rs"]
mod authority;

use authority::{DAY, Server};
use lineside_agent::fleet::identity::{
    Identity, IdentityReport, News, Renewal, Shows, Standing, https,
};
use lineside_agent::fleet::{Device, Proof};
use lineside_identity::{Answer, CertificateRequest, DeviceKey, EXCHANGE_ANSWER_BYTES_MAX};
use ring::rand::SystemRandom;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

/// Longer than an answer takes to come.
const PATIENCE: Duration = Duration::from_secs(30);

fn opened(folder: &Path) -> (Identity, Renewal) {
    let device = Device::read(folder).unwrap();
    let Proof::Key(identity) = device.proof else { panic!("it has a key") };
    let renewal = Renewal::new(identity.clone(), device.server_http);
    (identity, renewal)
}

/// Lets as much time go by as is left, and asks.
async fn asks(renewal: &mut Renewal) {
    renewal.go_on(renewal.left(), News::None).await;
}

fn trouble(identity: &Identity) -> String {
    IdentityReport::of(identity).trouble.unwrap_or_default()
}

/// A device that has a certificate.
async fn accepted(server: &Server) -> (tempfile::TempDir, Identity, Renewal) {
    let folder = server.device();
    let (identity, mut renewal) = opened(folder.path());
    server.says(&Answer::Wait { after: 60 });
    asks(&mut renewal).await;
    server.issues(&server.asked().join().request);
    asks(&mut renewal).await;
    server.asked();
    assert_eq!(identity.standing(), Standing::Accepted);
    (folder, identity, renewal)
}

#[tokio::test]
async fn a_device_joins_with_its_token_once_waits_and_is_accepted() {
    let server = Server::start();
    let folder = server.device();
    let file = |name: &str| folder.path().join(name);
    let (identity, mut renewal) = opened(folder.path());
    assert!(identity.config(Shows::Certificate).unwrap_err().to_string().contains("status"));

    // The server is being set up.
    server.says_bytes(409, br#"{"error":"this server has no TLS"}"#);
    asks(&mut renewal).await;
    assert_eq!(server.asked().join().token.as_deref(), Some("lsjoin_x"));
    assert!(trouble(&identity).contains("this server has no TLS"), "{}", trouble(&identity));
    assert_eq!(fs::read_to_string(file("join-token")).unwrap(), "lsjoin_x\n");

    server.says(&Answer::Wait { after: 60 });
    asks(&mut renewal).await;
    let asked = server.asked();
    assert!(!asked.shows);
    let join = asked.join();
    assert_eq!(join.token.as_deref(), Some("lsjoin_x"));
    assert_eq!(join.serial.unwrap().to_string(), "A-1");
    let request = CertificateRequest::parse(&join.request).unwrap();
    assert_eq!(request.key().fingerprint(), identity.fingerprint());
    assert!(!file("join-token").exists());
    let accept = format!("lineside device accept line-3 {}", identity.fingerprint());
    assert!(trouble(&identity).contains(&accept), "{}", trouble(&identity));
    // It does not ask before its time.
    assert!(renewal.left() >= Duration::from_secs(50) && renewal.left() <= Duration::from_secs(60));
    renewal.go_on(Duration::from_secs(1), News::None).await;
    server.nobody_asked();

    server.issues(&join.request);
    asks(&mut renewal).await;
    assert_eq!(server.asked().join().token, None);
    let report = IdentityReport::of(&identity);
    assert_eq!((report.trouble, report.certificate_ends.is_some()), (None, true));
    assert!(identity.config(Shows::Certificate).is_ok());
    let nine_days = Duration::from_secs(9 * DAY as u64);
    assert!(renewal.left() <= nine_days && renewal.left() >= nine_days.mul_f64(0.9));
    let mode = |name| fs::metadata(file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("identity.pem"), mode("certificate.pem")), (0o600, 0o644));

    // The agent is started again: the same key, and its certificate is shown.
    let (again, mut renewal) = opened(folder.path());
    assert_eq!(again.fingerprint(), identity.fingerprint());
    assert!(renewal.left() <= Duration::from_secs(60));
    let now = OffsetDateTime::now_utc().unix_timestamp();
    server.says(&Answer::TooEarly { renew_at: now + 9 * DAY, now });
    asks(&mut renewal).await;
    let asked = server.asked();
    asked.renew();
    assert!(asked.shows);
    assert!(renewal.left() >= nine_days.mul_f64(0.9));
}

#[tokio::test]
async fn a_certificate_that_is_lost_or_not_believed_is_had_again_by_the_key_alone() {
    let server = Server::start();
    let (folder, identity, mut renewal) = accepted(&server).await;
    let path = folder.path().join("certificate.pem");
    let first = fs::read_to_string(&path).unwrap();
    for news in [News::None, News::Unbelieved] {
        if news == News::None {
            fs::remove_file(&path).unwrap();
        }
        server.issues(
            &CertificateRequest::sign(
                identity.device(),
                &key_of(folder.path()),
                &SystemRandom::new(),
            )
            .unwrap(),
        );
        renewal.go_on(Duration::from_secs(10), news).await;
        let asked = server.asked();
        asked.renew();
        assert!(!asked.shows, "{news:?}");
        assert_ne!(fs::read_to_string(&path).unwrap(), first);
    }
    // A broker that does not believe what the server makes is not asked about for ever.
    renewal.go_on(Duration::from_secs(10), News::Unbelieved).await;
    server.nobody_asked();
    // It is gone while the agent is not running, and there is another's in its place.
    fs::remove_file(&path).unwrap();
    drop(renewal);
    let (identity, mut renewal) = opened(folder.path());
    assert_eq!(renewal.left(), Duration::ZERO);
    let stranger = DeviceKey::generate(&SystemRandom::new()).unwrap();
    let random = SystemRandom::new();
    server.issues(&CertificateRequest::sign(identity.device(), &stranger, &random).unwrap());
    asks(&mut renewal).await;
    server.asked().renew();
    assert!(trouble(&identity).contains("for another key"), "{}", trouble(&identity));
    assert!(!path.exists() && renewal.left() > Duration::from_secs(20));
    // Nor is another's believed that somebody puts there.
    fs::write(&path, "no certificate").unwrap();
    assert!(opened(folder.path()).0.certificate().is_none());
}

#[tokio::test]
async fn a_certificate_that_cannot_be_kept_is_shown_all_the_same_and_asked_for_once() {
    let server = Server::start();
    let (folder, identity, mut renewal) = accepted(&server).await;
    let path = folder.path().join("certificate.pem");
    fs::remove_file(&path).unwrap();
    // Whatever is to be written beside it has no place: not even its owner may write into a folder's name.
    fs::create_dir(folder.path().join("certificate.pem.part")).unwrap();
    let random = SystemRandom::new();
    let key = key_of(folder.path());
    server.issues(&CertificateRequest::sign(identity.device(), &key, &random).unwrap());
    renewal.go_on(Duration::from_secs(10), News::None).await;
    server.asked().renew();
    assert!(!path.exists() && identity.certificate().is_some());
    assert_eq!(identity.standing(), Standing::Accepted);
    for _ in 0..10 {
        renewal.go_on(Duration::from_secs(10), News::None).await;
    }
    server.nobody_asked();
}

#[tokio::test]
async fn a_server_that_does_not_believe_the_certificate_is_asked_by_the_key_at_once() {
    let server = Server::start();
    let (folder, ..) = accepted(&server).await;
    // As where it has lapsed.
    let other = Server::of(server.authority.clone(), &authority::authority());
    other.accepts();
    let file = folder.path().join("device.toml");
    let text = fs::read_to_string(&file).unwrap().replace(&server.url, &other.url);
    fs::write(&file, text).unwrap();
    let (identity, mut renewal) = opened(folder.path());
    asks(&mut renewal).await;
    assert_eq!(renewal.left(), Duration::ZERO, "{:?}", identity.standing());
    other.nobody_asked();
    asks(&mut renewal).await;
    assert!(!other.asked().shows);
    assert_eq!(identity.standing(), Standing::Accepted);
}

fn key_of(folder: &Path) -> DeviceKey {
    let pem = fs::read_to_string(folder.join("identity.pem")).unwrap();
    DeviceKey::from_pem(&pem, &SystemRandom::new()).unwrap()
}

#[tokio::test]
async fn why_a_device_is_refused_is_told_and_it_goes_on_asking() {
    let server = Server::start();
    let (_folder, identity, mut renewal) = accepted(&server).await;
    server.says(&Answer::Refused { reason: "the device's key was revoked".into() });
    renewal.go_on(Duration::from_secs(61), News::Unbelieved).await;
    server.asked().renew();
    assert!(trouble(&identity).contains("key was revoked"), "{}", trouble(&identity));
    let hour = Duration::from_secs(3_600);
    assert!(renewal.left() <= hour && renewal.left() >= hour.mul_f64(0.9));
    // It is let in again: that is news before the hour is over.
    identity.was_let_in();
    assert_eq!(trouble(&identity), "");
}

#[tokio::test]
async fn an_answer_without_an_end_and_one_that_is_none_are_no_answers() {
    let server = Server::start();
    let folder = server.device();
    let (identity, mut renewal) = opened(folder.path());
    server.says_bytes(200, &vec![b' '; EXCHANGE_ANSWER_BYTES_MAX + 1]);
    asks(&mut renewal).await;
    let standing = identity.standing();
    assert!(matches!(&standing, Standing::Away(why) if why.contains("limit")), "{standing:?}");
    server.says_bytes(200, b"<html>");
    asks(&mut renewal).await;
    let standing = identity.standing();
    assert!(matches!(&standing, Standing::Away(why) if why.contains("no answer")), "{standing:?}");
    assert!(renewal.left() > Duration::from_secs(50), "{:?}", renewal.left());
    assert!(folder.path().join("join-token").exists());
}

#[tokio::test]
async fn a_server_of_another_authority_hears_neither_token_nor_certificate() {
    let (ours, theirs) = (Server::start(), Server::start());
    let folder = ours.device();
    let file = folder.path().join("device.toml");
    let text = fs::read_to_string(&file).unwrap().replace(&ours.url, &theirs.url);
    fs::write(&file, text).unwrap();
    let (identity, mut renewal) = opened(folder.path());
    asks(&mut renewal).await;
    assert!(trouble(&identity).contains("was installed for"), "{}", trouble(&identity));
    theirs.nobody_asked();
}

#[test]
fn what_is_fetched_from_the_server_is_asked_for_with_the_newest_certificate() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = server.device();
    let (identity, mut renewal) = opened(folder.path());
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build();
    let client = https::client(config, identity.clone(), Shows::Certificate);
    let url = format!("{}/v2/", server.url);
    let error = client.get(&url).call().unwrap_err().to_string();
    assert!(error.contains("no certificate yet"), "{error}");
    runtime.block_on(async {
        server.says(&Answer::Wait { after: 60 });
        asks(&mut renewal).await;
        server.issues(&server.asked().join().request);
        asks(&mut renewal).await;
        server.asked();
    });
    server.says_bytes(200, b"blob");
    let mut answer = client.get(&url).call().unwrap();
    assert_eq!(answer.body_mut().read_to_vec().unwrap(), b"blob");
    let asked = server.asked();
    assert!(asked.shows && asked.path == "/v2/");
}
