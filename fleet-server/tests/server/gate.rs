//! Devices on other machines at the broker: by TLS, with certificates of their own, and no further than that.

use crate::identity::{Device, Served, served, served_since};
use crate::mqtt::Client;
use crate::running::PATIENCE;
use lineside_identity::{Authority, CertificateRequest, DeviceKey, Lifetime, read_chain};
use ring::rand::SystemRandom;
use rumqttc::mqttbytes::v5::{ConnectReturnCode, LastWill, PubAckReason};
use rumqttc::{ConnectionError, MqttOptions, QoS, TlsConfiguration, Transport};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use time::OffsetDateTime;

/// TLS to a server, with what a device has.
fn tls(served: &Served, device: &Device) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in read_chain(&served.authority).unwrap() {
        roots.add(CertificateDer::from(root)).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let Some(certificate) = &device.certificate else {
        return Arc::new(config.with_no_client_auth());
    };
    let chain = read_chain(certificate).unwrap().into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(device.key.pkcs8().to_vec()));
    Arc::new(config.with_client_auth_cert(chain, key).unwrap())
}

fn options(served: &Served, device: &Device, id: &str) -> MqttOptions {
    let (host, port) = served.mqtts.rsplit_once(':').unwrap();
    let mut options = MqttOptions::new(id, (host.to_owned(), port.parse::<u16>().unwrap()));
    let config = TlsConfiguration::Rustls(tls(served, device));
    options.set_clean_start(true).set_transport(Transport::tls_with_config(config));
    options
}

async fn connected(served: &Served, device: &Device) -> Client {
    Client::with(options(served, device, device.name), device.name).await.unwrap()
}

/// Connects as a start of a device, and hears what is said.
async fn started(served: &Served, device: &Device, start: &str) -> Result<Client, ConnectionError> {
    let mut options = options(served, device, device.name);
    options.set_user_properties(vec![("lineside-start".into(), start.into())]);
    Client::with(options, device.name).await
}

fn standing(served: &Served, device: &str) -> Value {
    let path = format!("/api/v1/identity/devices/{device}");
    served.people("GET", &path, &Value::Null).1["standing"].clone()
}

fn is_refused(answer: Result<Client, ConnectionError>) -> bool {
    use ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    matches!(answer, Err(ConnectionError::ConnectionRefused(BadUserNamePassword | NotAuthorized)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_speaks_on_its_own_branch_by_its_certificate_until_it_is_revoked() {
    let served = served();
    let device = served.accepted("line-3");
    let mut client = connected(&served, &device).await;
    let said = client.publish("lineside/v1/line-3/up/status", b"x".to_vec()).await;
    assert_eq!(said, PubAckReason::Success);
    let foreign = client.publish("lineside/v1/line-4/up/status", b"x".to_vec()).await;
    assert_eq!(foreign, PubAckReason::NotAuthorized);
    assert!(client.subscribe("lineside/v1/line-3/down/#").await.is_ok());
    for foreign in ["#", "$SYS/#", "lineside/v1/+/down/#", "$share/a/lineside/v1/line-3/down/#"] {
        assert!(client.subscribe(foreign).await.is_err(), "{foreign}");
    }
    assert_eq!(served.judge(&device, "revoke").0, 200);
    client.ended().await;
    assert!(is_refused(started(&served, &device, "1.2").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_the_device_is_not_let_in_as_the_device() {
    let served = served();
    let device = served.accepted("line-3");
    let mut client = connected(&served, &device).await;
    // Under another's name, which would end the other's session.
    let other = served.accepted("line-4");
    assert!(is_refused(Client::with(options(&served, &other, "line-3"), "line-4").await));
    // With a will, which would be published without being asked about.
    let mut with_will = options(&served, &other, "line-4");
    let topic = "lineside/v1/line-3/up/status";
    with_will.set_last_will(LastWill::new(topic, "x", QoS::AtLeastOnce, false, None));
    assert!(is_refused(Client::with(with_will, "line-4").await));
    // By a password, which is for the server's own machine, or by the name alone.
    let password = served.server.add_device("line-5");
    let mut by_password = options(&served, &Device::new("line-5"), "line-5");
    by_password.set_credentials("line-5", password.into_bytes());
    assert!(is_refused(Client::with(by_password, "line-5").await));
    assert!(is_refused(started(&served, &Device::new("line-3"), "9.1").await));
    // Who joined, and was not accepted.
    let mut waiting = Device::new("line-6");
    waiting.certificate = Some(certificate(&served, &waiting, OffsetDateTime::now_utc()));
    assert!(is_refused(started(&served, &waiting, "1.1").await));
    // The administrator hears of alerts.
    let mut administrator = options(&served, &Device::new("admin"), "admin");
    administrator.set_credentials("admin", served.server.token.clone().into_bytes());
    assert!(Client::with(administrator, "admin").await.is_ok());

    let said = client.publish(topic, b"x".to_vec()).await;
    assert_eq!(said, PubAckReason::Success, "nobody has ended its session");
}

/// A certificate that the server's authority made at `at`.
fn certificate(served: &Served, device: &Device, at: OffsetDateTime) -> String {
    let random = SystemRandom::new();
    let file = |name: &str| std::fs::read_to_string(served.data().join("keys").join(name)).unwrap();
    let key = DeviceKey::from_pem(&file("authority.key"), &random).unwrap();
    let authority = Authority::read(&file("authority.pem"), key).unwrap();
    let request = CertificateRequest::parse(&device.request()).unwrap();
    authority.issue(&request, Lifetime::of_days(7).unwrap(), at, &random).unwrap().pem
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_or_is_of_another_fleet_makes_no_connection() {
    let (ours, theirs) = (served_since(30), served());
    let device = ours.accepted("line-3");
    let ended = OffsetDateTime::now_utc() - time::Duration::days(8);
    let ended = Device { certificate: Some(certificate(&ours, &device, ended)), ..device };
    let answer = started(&ours, &ended, "1.1").await;
    assert!(
        matches!(answer, Err(ref error) if !matches!(error, ConnectionError::ConnectionRefused(_)))
    );
    let foreign = theirs.accepted("line-3");
    let answer = started(&ours, &foreign, "1.1").await;
    assert!(
        matches!(answer, Err(ref error) if !matches!(error, ConnectionError::ConnectionRefused(_)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_nonsense_keeps_nobody_out() {
    let served = served();
    let device = served.accepted("line-3");
    // Those who never end their handshake.
    let silent: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(&served.mqtts).unwrap()).collect();
    // MQTT in the clear.
    let mut plain = TcpStream::connect(&served.mqtts).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06line-3").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert_ne!(answer.first(), Some(&0x20), "{answer:?}");
    // What is no CONNECT, and one that would not end before 200 MB.
    for first in
        [&b"\xc0\0"[..], b"\x10\xff\xff\xff\x5f\0\x04MQTT\x05\x02\0\x3c", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let stream = TcpStream::connect(&served.mqtts).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(tls(&served, &device), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(first).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{first:?}: {answer:?}");
    }
    let mut client = connected(&served, &device).await;
    let said = client.publish("lineside/v1/line-3/up/status", b"x".to_vec()).await;
    assert_eq!(said, PubAckReason::Success);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_with_one_key_are_both_out_until_a_person_lets_one_in() {
    let served = served();
    let device = served.accepted("line-3");
    let topic = "lineside/v1/line-3/up/status";
    let mut first = started(&served, &device, "5.1").await.unwrap();
    assert_eq!(first.publish(topic, b"x".to_vec()).await, PubAckReason::Success);
    // It starts anew, and connects again: it is one.
    let mut again = started(&served, &device, "6.1").await.unwrap();
    assert_eq!(again.publish(topic, b"x".to_vec()).await, PubAckReason::Success);
    let mut once_more = started(&served, &device, "6.2").await.unwrap();
    assert_eq!(once_more.publish(topic, b"x".to_vec()).await, PubAckReason::Success);
    assert_eq!(standing(&served, "line-3"), "accepted");
    // A connection that hears nothing proves nothing.
    drop(started(&served, &device, "5.2").await.unwrap());
    assert_eq!(standing(&served, "line-3"), "accepted");

    let mut back = started(&served, &device, "5.3").await.unwrap();
    back.say(topic).await;
    back.ended().await;
    assert_eq!(standing(&served, "line-3"), "quarantined");
    assert!(is_refused(started(&served, &device, "6.3").await));
    let health = served.server.get("/api/v1/health").text();
    assert!(health.contains("1 device is in quarantine"), "{health}");

    assert_eq!(served.judge(&device, "reset").0, 200);
    let mut reset = started(&served, &device, "5.4").await.unwrap();
    assert_eq!(reset.publish(topic, b"x".to_vec()).await, PubAckReason::Success);
    assert_eq!(standing(&served, "line-3"), "accepted");
    // Who does not say which start it is, is not the one that has always said it.
    let mut silent = connected(&served, &device).await;
    silent.say(topic).await;
    silent.ended().await;
    assert_eq!(standing(&served, "line-3"), "accepted");
}
