//! What a token is good for: for one device, once, for a while.

use crate::claim::{Claim, HardwareSerial};
use crate::key::Fingerprint;
use crate::token::{JoinToken, TokenHash};
use crate::validity::shown;
use lineside_wire::name::DeviceId;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Whether `claim` may join with `token` at `now`, of which `record` is kept, or none.
///
/// # Errors
/// [`TokenRefusal`]. Who has used a token is told before its time is, so that an answer which was lost can
/// be had again later.
pub fn redeem(
    record: Option<&TokenRecord>,
    token: &JoinToken,
    claim: &Claim,
    now: OffsetDateTime,
) -> Result<Redeemed, TokenRefusal> {
    let hash = token.hash();
    let record = record.filter(|record| record.hash == hash).ok_or(TokenRefusal::Unknown)?;
    let own = Spent { device: claim.device.clone(), key: claim.key };
    match record {
        TokenRecord { spent: Some(spent), .. } if *spent == own => Ok(Redeemed::Before),
        TokenRecord { spent: Some(_), .. } => Err(TokenRefusal::Spent),
        TokenRecord { expires, .. } if *expires <= now => Err(TokenRefusal::Expired(*expires)),
        TokenRecord { device: Some(device), .. } if *device != claim.device => {
            Err(TokenRefusal::OtherDevice)
        }
        TokenRecord { serial: Some(_), .. } if record.serial != claim.serial => {
            Err(TokenRefusal::OtherSerial)
        }
        TokenRecord { spent: None, .. } => {
            Ok(Redeemed::Now(TokenRecord { spent: Some(own), ..record.clone() }))
        }
    }
}

/// What is kept of a token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Its hash.
    pub hash: TokenHash,
    /// The first moment at which it is not taken any more.
    #[serde(with = "time::serde::timestamp")]
    pub expires: OffsetDateTime,
    /// The only device that may join with it, where there is only one.
    pub device: Option<DeviceId>,
    /// The only serial number that may join with it, where there is only one.
    pub serial: Option<HardwareSerial>,
    /// Who has joined with it.
    pub spent: Option<Spent>,
}

/// Who has joined with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// The device.
    pub device: DeviceId,
    /// Its key.
    pub key: Fingerprint,
}

/// Why nobody joins with a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Never made here, or taken back.
    #[error("this server does not know the token: make one with `lineside device token`")]
    Unknown,
    /// Too late.
    #[error("the token expired at {}: make another with `lineside device token`", shown(.0))]
    Expired(OffsetDateTime),
    /// Somebody has joined with it.
    #[error("the token was used: make another with `lineside device token`, and look who used it")]
    Spent,
    /// For another name.
    #[error("the token is for another device: give the name that it was made for")]
    OtherDevice,
    /// For another serial number.
    #[error("the token is for a device with another serial number")]
    OtherSerial,
}

/// What a good token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// To join, whereupon this is to be kept of it in place of what was, in the same transaction.
    Now(TokenRecord),
    /// To hear again what was said: the same device has joined with it by the same key.
    Before,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceKey;
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use time::Duration;

    fn token() -> JoinToken {
        JoinToken::draw(&SystemRandom::new()).unwrap()
    }

    fn claim(device: &str, serial: Option<&str>) -> Claim {
        let key = DeviceKey::generate(&SystemRandom::new()).unwrap().fingerprint();
        let serial = serial.map(|serial| serial.parse().unwrap());
        Claim { device: device.parse().unwrap(), key, serial }
    }

    fn record(token: &JoinToken) -> TokenRecord {
        let expires = OffsetDateTime::UNIX_EPOCH + Duration::days(1);
        TokenRecord { hash: token.hash(), expires, device: None, serial: None, spent: None }
    }

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    #[test]
    fn a_token_is_for_one_device_for_a_while() {
        let token = token();
        let mut record = record(&token);
        let mine = claim("line-3", Some("A-1"));
        let redeemed = redeem(Some(&record), &token, &mine, NOW);
        let Ok(Redeemed::Now(spent)) = redeemed else { panic!("{redeemed:?}") };
        // Its answer was lost; it asks again, even after the token's time.
        for now in [NOW, record.expires + Duration::days(9)] {
            assert_eq!(redeem(Some(&spent), &token, &mine, now), Ok(Redeemed::Before));
        }
        let (other_key, other_name) = (
            claim("line-3", Some("A-1")),
            Claim { device: "line-4".parse().unwrap(), ..mine.clone() },
        );
        for other in [&other_key, &other_name] {
            assert_eq!(redeem(Some(&spent), &token, other, NOW), Err(TokenRefusal::Spent));
        }
        let expired = Err(TokenRefusal::Expired(record.expires));
        assert_eq!(redeem(Some(&record), &token, &mine, record.expires), expired);
        let told = TokenRefusal::Expired(record.expires).to_string();
        assert!(told.contains("at 1970-01-02T00:00:00Z: make another"), "{told}");
        let second = record.expires - Duration::seconds(1);
        assert!(redeem(Some(&record), &token, &mine, second).is_ok());
        record.device = Some("line-4".parse().unwrap());
        assert_eq!(redeem(Some(&record), &token, &mine, NOW), Err(TokenRefusal::OtherDevice));
        record.device = Some("line-3".parse().unwrap());
        assert!(redeem(Some(&record), &token, &mine, NOW).is_ok());
        record.serial = Some("A-2".parse().unwrap());
        assert_eq!(redeem(Some(&record), &token, &mine, NOW), Err(TokenRefusal::OtherSerial));
        let silent = Claim { serial: None, ..mine.clone() };
        assert_eq!(redeem(Some(&record), &token, &silent, NOW), Err(TokenRefusal::OtherSerial));
        record.serial = Some("A-1".parse().unwrap());
        assert!(redeem(Some(&record), &token, &mine, NOW).is_ok());
        assert_eq!(redeem(None, &token, &mine, NOW), Err(TokenRefusal::Unknown));
        let another = self::token();
        assert_eq!(redeem(Some(&record), &another, &mine, NOW), Err(TokenRefusal::Unknown));
    }

    #[test]
    fn a_record_is_kept_without_the_token_and_read_back() {
        let token = token();
        let whole = TokenRecord {
            device: Some("line-3".parse().unwrap()),
            serial: Some("A-1".parse().unwrap()),
            ..record(&token)
        };
        let kept = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<TokenRecord>(&kept).unwrap(), whole);
        assert!(!kept.contains(&token.reveal()[7..59]) && kept.contains("\"expires\":86400"));
    }

    proptest! {
        /// Whoever comes with a token in whatever order, only one of them ever joins.
        #[test]
        fn a_token_is_never_redeemed_twice(
            tries in proptest::collection::vec((0_usize..4, 0_i64..3), 1..20),
            bound_name: bool, bound_serial: bool,
        ) {
            let token = token();
            let claims = [
                claim("line-3", Some("A-1")), claim("line-3", Some("A-1")),
                claim("line-3", None), claim("line-4", Some("A-1")),
            ];
            let mut kept = record(&token);
            kept.device = bound_name.then(|| "line-3".parse().unwrap());
            kept.serial = bound_serial.then(|| "A-1".parse().unwrap());
            let mut joined = Vec::new();
            for (who, day) in tries {
                let now = NOW + Duration::days(day);
                match redeem(Some(&kept), &token, &claims[who], now) {
                    Ok(Redeemed::Now(spent)) => {
                        prop_assert!(day < 1);
                        joined.push(who);
                        kept = spent;
                    }
                    Ok(Redeemed::Before) => prop_assert_eq!(&joined, &[who]),
                    Err(_) => {}
                }
            }
            prop_assert!(joined.len() <= 1);
            prop_assert!(!bound_name || joined != [3]);
            prop_assert!(!bound_serial || joined != [2]);
        }
    }
}
