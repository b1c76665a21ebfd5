//! Bodies that are packed (RFC 9110, 8.4.1): gzip and deflate, which is zlib's.

use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Read, Write};

/// Bytes that are unpacked before it is asked whether there is room for more.
const STEP_BYTES: usize = 64 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
}

/// Why a body cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// It has more bytes than may be, or than there is room for.
    TooLarge,
    /// It is not what it says that it is.
    Broken(String),
}

impl Coding {
    /// The coding of this name, as requests say it of themselves.
    pub(super) fn parse(name: &str) -> Option<Coding> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            _ => None,
        }
    }

    /// The first that `Accept-Encoding` names and does not exclude.
    pub(super) fn accepted(field: &str) -> Option<Coding> {
        field.split(',').find_map(|item| {
            let (name, rest) = item.split_once(';').unwrap_or((item, ""));
            let weight = rest.trim().strip_prefix("q=");
            let excluded = weight.is_some_and(|weight| weight.trim().parse() == Ok(0.0));
            Coding::parse(name).filter(|_| !excluded)
        })
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    /// Unpacks a body; `grow` is asked before each piece whether there is room for so many bytes more.
    pub(super) fn unpack(
        self,
        body: &[u8],
        grow: impl FnMut(usize) -> bool,
    ) -> Result<Vec<u8>, Unpacked> {
        match self {
            // One file may be several, one behind the other (RFC 1952, 2.2).
            Coding::Gzip => read(MultiGzDecoder::new(body), grow),
            Coding::Deflate => read(ZlibDecoder::new(body), grow),
        }
    }

    /// Packs a body.
    pub(super) fn pack(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let fast = Compression::fast();
        match self {
            Coding::Gzip => {
                let mut packer = GzEncoder::new(Vec::new(), fast);
                packer.write_all(body)?;
                packer.finish()
            }
            Coding::Deflate => {
                let mut packer = ZlibEncoder::new(Vec::new(), fast);
                packer.write_all(body)?;
                packer.finish()
            }
        }
    }
}

fn read(mut unpacker: impl Read, mut grow: impl FnMut(usize) -> bool) -> Result<Vec<u8>, Unpacked> {
    let mut bytes = Vec::new();
    let mut step = vec![0; STEP_BYTES];
    loop {
        match unpacker.read(&mut step) {
            Ok(0) => return Ok(bytes),
            Ok(count) if grow(count) => bytes.extend_from_slice(&step[..count]),
            Ok(_) => return Err(Unpacked::TooLarge),
            Err(error) => return Err(Unpacked::Broken(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_a_small_one_that_becomes_a_large_one_does_not() {
        let body = vec![7; 1 << 20];
        for coding in [Coding::Gzip, Coding::Deflate] {
            let packed = coding.pack(&body).unwrap();
            assert!(packed.len() < body.len() / 50);
            assert_eq!(coding.unpack(&packed, |_| true).unwrap(), body);
            let mut left = 100_000;
            let grow = |bytes| {
                left -= bytes as i64;
                left >= 0
            };
            assert_eq!(coding.unpack(&packed, grow), Err(Unpacked::TooLarge));
            let cut = coding.unpack(&packed[..packed.len() / 2], |_| true);
            assert!(matches!(cut, Err(Unpacked::Broken(_))), "{coding:?}");
            assert!(matches!(coding.unpack(b"plain", |_| true), Err(Unpacked::Broken(_))));
        }
    }

    #[test]
    fn a_body_of_several_members_comes_whole_and_what_follows_them_is_refused() {
        let members = [&b"one"[..], b"", b"three"].map(|it| Coding::Gzip.pack(it).unwrap());
        let packed = members.concat();
        assert_eq!(Coding::Gzip.unpack(&packed, |_| true).unwrap(), b"onethree");
        let followed = Coding::Gzip.unpack(&[&packed[..], b"rest"].concat(), |_| true);
        assert!(matches!(followed, Err(Unpacked::Broken(_))), "{followed:?}");
    }

    #[test]
    fn what_a_client_takes_is_what_it_gets() {
        let accepted = |field| Coding::accepted(field).map(Coding::name);
        assert_eq!(accepted("gzip, deflate"), Some("gzip"));
        assert_eq!(accepted("br, deflate;q=0.5"), Some("deflate"));
        assert_eq!(accepted("gzip;q=0, deflate"), Some("deflate"));
        assert_eq!(accepted("gzip;q=0.0"), None);
        assert_eq!(accepted("identity"), None);
        assert_eq!(accepted(""), None);
        assert_eq!(Coding::parse("X-GZIP "), Some(Coding::Gzip));
    }
}
