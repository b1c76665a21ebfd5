//! A client of the server's broker.

use crate::running::{PATIENCE, Running};
use rumqttc::mqttbytes::v5::{ConnectReturnCode, Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, PublishOptions, QoS};
use std::collections::VecDeque;
use tokio::time::timeout;

/// A stay at the broker.
pub struct Client {
    name: String,
    client: AsyncClient,
    events: EventLoop,
    messages: VecDeque<(String, Vec<u8>)>,
}

impl Client {
    /// Connects; or says what the broker answered.
    pub async fn connect(
        server: &Running,
        id: &str,
        user: &str,
        password: &str,
    ) -> Result<Client, ConnectReturnCode> {
        let (host, port) = server.mqtt.rsplit_once(':').unwrap();
        let mut options = MqttOptions::new(id, (host.to_owned(), port.parse::<u16>().unwrap()));
        options
            .set_clean_start(true)
            .set_max_packet_size(Some(4 << 20))
            .set_credentials(user.to_owned(), password.to_owned().into_bytes());
        Client::with(options, user).await.map_err(|error| match error {
            ConnectionError::ConnectionRefused(code) => code,
            error => panic!("{error}"),
        })
    }

    /// Connects by these options; or says what comes of it.
    pub async fn with(options: MqttOptions, name: &str) -> Result<Client, ConnectionError> {
        let (client, mut events) = AsyncClient::builder(options).capacity(64).build();
        loop {
            let event = timeout(PATIENCE, events.poll()).await.expect("the broker answers")?;
            if let Event::Incoming(Packet::ConnAck(ack)) = event {
                assert_eq!(ack.code, ConnectReturnCode::Success);
                let (name, messages) = (name.to_owned(), VecDeque::new());
                return Ok(Client { name, client, events, messages });
            }
        }
    }

    /// Connects as a device does.
    pub async fn device(server: &Running, name: &str, password: &str) -> Client {
        let mut client = Client::connect(server, name, name, password).await.unwrap();
        let all = format!("lineside/v1/{name}/down/#");
        assert!(client.subscribe(&all).await.is_ok());
        client
    }

    /// Subscribes; or says why not.
    pub async fn subscribe(&mut self, filter: &str) -> Result<(), SubscribeReasonCode> {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let code = loop {
            if let Packet::SubAck(ack) = self.next().await {
                break ack.return_codes[0];
            }
        };
        if matches!(code, SubscribeReasonCode::Success(_)) { Ok(()) } else { Err(code) }
    }

    /// Publishes and gives the broker's answer.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> PubAckReason {
        let options = PublishOptions::at_least_once();
        self.client.publish(topic, payload, options).await.unwrap();
        loop {
            if let Packet::PubAck(ack) = self.next().await {
                return ack.reason;
            }
        }
    }

    /// Publishes, and waits for no answer.
    pub async fn say(&mut self, topic: &str) {
        self.client.publish(topic, b"x".to_vec(), PublishOptions::at_least_once()).await.unwrap();
    }

    /// Publishes a message many times without waiting, until the broker has answered all of them.
    pub async fn flood(mut self, topic: &str, payload: &[u8], count: usize) {
        let client = self.client.clone();
        let speaking = async move {
            for _ in 0..count {
                let options = PublishOptions::at_least_once();
                client.publish(topic, payload.to_vec(), options).await.unwrap();
            }
        };
        let hearing = async {
            let mut answered = 0;
            while answered < count {
                answered += usize::from(matches!(self.next().await, Packet::PubAck(_)));
            }
        };
        tokio::join!(speaking, hearing);
    }

    /// The next message on a topic that ends so.
    pub async fn receive(&mut self, end: &str) -> Vec<u8> {
        loop {
            if let Some(at) = self.messages.iter().position(|(topic, _)| topic.ends_with(end)) {
                return self.messages.remove(at).unwrap().1;
            }
            self.next().await;
        }
    }

    /// Topics of what came before the answer to a question of this client's own.
    pub async fn messages_until_own_answer(&mut self) -> Vec<String> {
        let topic = format!("lineside/v1/{}/up/status", self.name);
        self.publish(&topic, b"x".to_vec()).await;
        self.messages.drain(..).map(|(topic, _)| topic).collect()
    }

    /// Waits until the broker ends the connection.
    pub async fn ended(&mut self) {
        while timeout(PATIENCE, self.events.poll()).await.expect("the broker hangs up").is_ok() {}
    }

    async fn next(&mut self) -> Packet {
        loop {
            let event = timeout(PATIENCE, self.events.poll()).await.expect("the broker answers");
            if let Event::Incoming(packet) = event.expect("the connection stays") {
                if let Packet::Publish(publish) = &packet {
                    let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                    self.messages.push_back((topic, publish.payload.to_vec()));
                }
                return packet;
            }
        }
    }
}
