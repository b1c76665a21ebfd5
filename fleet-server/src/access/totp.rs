//! Codes of authenticator apps: time-based one-time passwords (RFC 6238) of six digits, by SHA-1 and spans of 30
//! seconds, which is what all of them make.

use crate::access::secret::random;
use crate::error::Error;
use data_encoding::BASE32_NOPAD;
use ring::hmac;

/// Bytes of a secret, as RFC 4226 (4, R6) recommends.
const SECRET: usize = 20;
const SPAN_SECONDS: i64 = 30;
/// Spans before and after this one whose codes are taken: clocks differ.
const ASIDE: i64 = 1;

/// Draws a secret, in base 32.
///
/// # Errors
/// [`Error::File`] if the system gives no random bytes.
pub(crate) fn draw() -> Result<String, Error> {
    Ok(BASE32_NOPAD.encode(&random::<SECRET>()?))
}

/// What an authenticator app reads.
pub(crate) fn address(name: &str, secret: &str) -> String {
    format!("otpauth://totp/Lineside:{name}?secret={secret}&issuer=Lineside")
}

/// The span of which this is the code, if it is one that may be taken at `now`, in seconds since 1970, and is later
/// than `last`: a code is good once.
pub(crate) fn span_of(secret: &str, code: &str, now: i64, last: i64) -> Option<i64> {
    let key = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let code: String = code.chars().filter(|char| !char.is_whitespace()).collect();
    let this = now.div_euclid(SPAN_SECONDS);
    (this - ASIDE..=this + ASIDE).find(|span| *span > last && is(&code_of(&key, *span), &code))
}

fn is(right: &str, given: &str) -> bool {
    crate::access::secret::same(right, given)
}

/// The code of a span (RFC 4226, 5.3).
fn code_of(key: &hmac::Key, span: i64) -> String {
    let tag = hmac::sign(key, &span.to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag[tag.len() - 1] & 15);
    let four = [tag[at] & 0x7f, tag[at + 1], tag[at + 2], tag[at + 3]];
    format!("{:06}", u32::from_be_bytes(four) % 1_000_000)
}

#[cfg(test)]
pub(crate) fn code_at(secret: &str, now: i64) -> String {
    let key = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    code_of(&key, now.div_euclid(SPAN_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_specification() {
        let secret = BASE32_NOPAD.encode(b"12345678901234567890");
        // RFC 6238, appendix B: the last six of eight digits.
        for (now, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code_at(&secret, now), code);
            assert_eq!(span_of(&secret, code, now, 0), Some(now / 30));
        }
    }

    #[test]
    fn a_code_is_good_for_a_minute_and_a_half_and_once() {
        let secret = draw().unwrap();
        assert_eq!(secret.len(), 32);
        let now = 1_800_000_000;
        let code = code_at(&secret, now);
        let span = span_of(&secret, &code, now, 0).unwrap();
        assert_eq!(span_of(&secret, &code, now, span), None, "it was taken");
        assert!(span_of(&secret, &code, now + 30, 0).is_some());
        assert!(span_of(&secret, &code, now - 30, 0).is_some());
        assert_eq!(span_of(&secret, &code, now + 60, 0), None);
        assert_eq!(span_of(&secret, "", now, 0), None);
        assert_eq!(span_of("no base 32!", &code, now, 0), None);
        let spaced = format!("{} {}", &code[..3], &code[3..]);
        assert!(span_of(&secret, &spaced, now, 0).is_some());
    }
}
