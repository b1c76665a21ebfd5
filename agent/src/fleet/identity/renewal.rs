//! Joins, and has the device's certificate renewed, for ever.
//!
//! Nothing of it is kept but the files: at each start the server is asked, and says by its own clock when the
//! certificate is to be renewed. A device that is switched off each night is asked about in time in this way,
//! and one whose state was lost or set back does what any other does.

use super::asking::{Silence, ask};
use super::report::{Standing, trouble};
use super::shared::{Identity, Shows};
use crate::backoff::share;
use crate::error::chain;
use lineside_identity::{
    Answer, Deed, Errand, JoinRequest, Occasion, RenewRequest, Stage, TokenUse, Way, errand,
};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// How often it is looked whether the certificate is still in its file.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Within which time after its start a device with a certificate asks about that, at random: a thousand devices
/// may have been switched on together.
const FIRST_WITHIN: Duration = Duration::from_secs(60);
/// Share of a wait that is left out at random, for devices that have joined together.
const EARLIER_MAX: f64 = 0.1;
/// How soon it is asked about a certificate again that was not believed elsewhere.
const HEED_EVERY: Duration = Duration::from_secs(60);

/// What has happened meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    None,
    /// The certificate was shown elsewhere, and not believed.
    Unbelieved,
}

/// Has the certificate of a device made and renewed.
pub struct Renewal {
    identity: Identity,
    /// Base URL of the server.
    server: String,
    errand: Errand,
    /// Whether the certificate is in its file, as far as that was seen.
    is_kept: bool,
    /// Running time since a certificate was last heard not to be believed.
    heeded: Duration,
}

impl Renewal {
    /// Of the device with this identity, at the server with this base URL.
    pub fn new(identity: Identity, server: String) -> Renewal {
        let stage = match (identity.certificate(), identity.token().is_there()) {
            (Some(_), _) => Stage::Renews(Way::Session),
            (None, true) => Stage::Joins(TokenUse::Shown),
            // The server knows it by its key, or nobody does.
            (None, false) => Stage::Renews(Way::Request),
        };
        let left = match stage {
            Stage::Renews(Way::Session) => FIRST_WITHIN.mul_f64(share()),
            Stage::Joins(_) | Stage::Renews(Way::Request) => Duration::ZERO,
        };
        let is_kept = stage == Stage::Renews(Way::Session);
        if is_kept {
            // It has done its work, and the power has failed before it was removed.
            identity.token().remove();
        }
        let errand = Errand { stage, left, unanswered: 0 };
        Renewal { identity, server, errand, is_kept, heeded: HEED_EVERY }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        let key = self.identity.fingerprint();
        tracing::info!("this device is known to its server by the key {key}");
        let mut before = Instant::now();
        loop {
            let news = tokio::select! {
                () = sleep(self.left().min(LOOK_EVERY)) => News::None,
                () = self.identity.unbelieved() => News::Unbelieved,
            };
            let now = Instant::now();
            self.go_on(now - before, news).await;
            before = now;
        }
    }

    /// Running time until the server is asked.
    pub fn left(&self) -> Duration {
        self.errand.left
    }

    /// Goes on after the device has `ran` so long, and asks the server if it is time to.
    pub async fn go_on(&mut self, ran: Duration, news: News) {
        self.heeded = self.heeded.saturating_add(ran);
        self.happens(&Occasion::Ran, ran);
        let renews = self.errand.stage == Stage::Renews(Way::Session);
        if news == News::Unbelieved && renews && self.heeded >= HEED_EVERY {
            self.heeded = Duration::ZERO;
            self.happens(&Occasion::Unbelieved, Duration::ZERO);
        }
        if self.is_kept && !self.identity.file().is_there() {
            self.is_kept = false;
            let path = self.identity.file().path().display();
            tracing::warn!("{path} is gone: the server is asked for another");
            self.happens(&Occasion::Lost, Duration::ZERO);
        }
        let Some(deed) = self.errand.due() else { return };
        let occasion = self.carry_out(deed).await;
        self.happens(&occasion, Duration::ZERO);
        self.errand.left -= self.errand.left.mul_f64(EARLIER_MAX * share());
    }

    fn happens(&mut self, occasion: &Occasion, ran: Duration) {
        self.errand = errand(self.errand, occasion, ran);
    }

    /// Asks, keeps what comes, and says how the device stands.
    async fn carry_out(&mut self, deed: Deed) -> Occasion {
        let (identity, server) = (self.identity.clone(), self.server.clone());
        let asked = spawn_blocking(move || asked(&identity, &server, deed)).await;
        // One that broke down has been told of where it did.
        let asked = asked.unwrap_or_else(|error| Err(Silence::Away(error.to_string())));
        match asked {
            Ok(answer) => self.hear(answer),
            Err(Silence::Unbelieved) => {
                let why = "it does not believe the certificate that it was shown".to_owned();
                self.stands(Standing::Away(why));
                Occasion::Unbelieved
            }
            Err(Silence::Away(why)) => {
                self.stands(Standing::Away(why));
                Occasion::Unanswered
            }
        }
    }

    fn hear(&mut self, answer: Answer) -> Occasion {
        match &answer {
            Answer::Issued { certificates, now, .. } => {
                self.identity.is_later_than(*now);
                if let Err(why) = self.identity.take(certificates) {
                    let why = format!("it has sent a certificate that is not this device's: {why}");
                    self.stands(Standing::Away(why));
                    return Occasion::Unanswered;
                }
                self.identity.token().remove();
                let written = self.identity.file().write(certificates);
                self.is_kept = written.is_ok();
                // It is shown until the agent ends, even so.
                if let Err(error) = written {
                    tracing::error!("the device's certificate is not kept: {}", chain(error));
                }
                self.stands(Standing::Accepted);
            }
            Answer::TooEarly { now, .. } => {
                self.identity.is_later_than(*now);
                self.stands(Standing::Accepted);
            }
            Answer::Wait { .. } => {
                self.identity.token().remove();
                self.stands(Standing::Waits);
            }
            Answer::Refused { reason } => self.stands(Standing::Refused(reason.clone())),
        }
        Occasion::Answered(answer)
    }

    /// Says how the device stands where that is news.
    fn stands(&self, standing: Standing) {
        let before = self.identity.stands(standing.clone());
        let is_news = match (&before, &standing) {
            (Standing::Away(_), Standing::Away(_)) => false,
            (before, standing) => before != standing,
        };
        if !is_news {
            return;
        }
        match trouble(&self.identity) {
            Some(trouble) => tracing::warn!("{trouble}; all goes on without the server"),
            None => tracing::info!("the server has accepted this device"),
        }
    }
}

/// Asks what is to be asked. Blocks.
fn asked(identity: &Identity, server: &str, deed: Deed) -> Result<Answer, Silence> {
    let away = |why: String| Silence::Away(why);
    let request = identity.request().map_err(|error| away(error.to_string()))?;
    let token = match deed {
        Deed::Join(TokenUse::Shown) => identity.token().read().map_err(|it| away(chain(it)))?,
        Deed::Join(TokenUse::Over) | Deed::Renew(_) => None,
    };
    let renew = "/api/v1/identity/renew";
    match (deed, &token) {
        (Deed::Join(TokenUse::Over), _) | (Deed::Join(TokenUse::Shown), Some(_)) => {
            let question = JoinRequest { token, request, serial: identity.serial().cloned() };
            ask(server, "/api/v1/identity/join", &question, identity, Shows::Nothing)
        }
        (Deed::Renew(Way::Session), _) => {
            ask(server, renew, &RenewRequest { request }, identity, Shows::Certificate)
        }
        // The token was there when the agent started, and is gone.
        (Deed::Join(TokenUse::Shown), None) | (Deed::Renew(Way::Request), _) => {
            ask(server, renew, &RenewRequest { request }, identity, Shows::Nothing)
        }
    }
}
