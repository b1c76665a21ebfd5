//! What strangers may hand in: whatever it is, it is judged within bounds and nothing breaks.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_audit::device::{Anchor, receive, verify_chain};
use lineside_audit::*;
use proptest::prelude::*;
use std::io::{self, BufReader, Read};

fn signer() -> LocalSigner {
    LocalSigner::from_seed("fleet.example/audit", &[3; 32]).unwrap()
}

fn entry(seq: u64) -> Vec<u8> {
    let who = Who { kind: WhoKind::Server, id: "server".parse().unwrap(), name: None, of: None };
    let subject = Subject { kind: "slot".parse().unwrap(), id: "press-4/main".parse().unwrap() };
    let change = Change {
        who,
        action: Action::SlotRan.into(),
        subject,
        old: None,
        new: Some(Value::Sealed(Hash::empty())),
        why: None,
        request: None,
        signed: None,
        because: vec![],
    };
    Entry::new(seq, 0, Clock::Unknown, change).unwrap().to_bytes()
}

/// A file of so many entries; `line` may put other lines in their place.
fn file(size: u64, line: impl Fn(u64, &[u8]) -> String) -> String {
    let mut frontier = Frontier::new();
    let mut file = Header::whole(signer().key().clone(), size).to_line();
    for seq in 0..size {
        let bytes = entry(seq);
        frontier.append(Hash::leaf(&bytes)).unwrap();
        file += &line(seq, &bytes);
    }
    let checkpoint = Checkpoint::new("fleet.example/audit", size, frontier.root()).unwrap();
    file + &checkpoint_line(&checkpoint.sign(&signer()).unwrap())
}

fn judge(file: &[u8]) -> Result<Report, VerifyError> {
    verify(file, signer().key(), &[], |_| {})
}

/// A reader that gives one byte for ever, and counts how many it was asked for.
struct Endless(u8, u64);

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        into.fill(self.0);
        self.1 += into.len() as u64;
        Ok(into.len())
    }
}

#[test]
fn a_line_without_an_end_is_given_up_at_its_largest_length() {
    for byte in *b"{ [\"x\0\xff" {
        let mut endless = Endless(byte, 0);
        let error = verify(BufReader::new(&mut endless), signer().key(), &[], |_| {}).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        assert!(endless.1 <= LINE_BYTES_MAX as u64 + 64 * 1024, "{}", endless.1);
    }
    // Lines without anything are none.
    let mut endless = Endless(b'\n', 0);
    assert!(verify(BufReader::new(&mut endless), signer().key(), &[], |_| {}).is_err());
}

#[test]
fn a_file_that_cannot_be_read_on_is_no_file_that_ends() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the stick was pulled out"))
        }
    }
    let good = file(3, |_, bytes| entry_line(bytes).unwrap());
    let broken = BufReader::new(good.as_bytes().chain(Broken));
    let error = verify(broken, signer().key(), &[], |_| {}).unwrap_err();
    assert!(matches!(error, VerifyError::Read(_)));
}

#[test]
fn deep_nesting_is_refused_and_does_not_end_the_program() {
    for begin in ["[", "{\"a\":", "{\"leaf\":", "{\"v\":1,\"seq\":[", "{\"checkpoint\":["] {
        let deep = begin.repeat(LINE_BYTES_MAX / begin.len());
        assert!(judge(deep.as_bytes()).is_err());
        assert!(Entry::parse(&deep.as_bytes()[..ENTRY_BYTES_MAX - 10]).is_err());
    }
    // Inside of an entry of a later form, which nobody here reads.
    let deep = format!("{{\"v\":2,\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let leaf = Hash::leaf(deep.as_bytes());
    let line = format!("{{\"leaf\":\"{leaf}\",\"entry\":{deep}}}\n");
    let header = Header::whole(signer().key().clone(), 1).to_line();
    assert!(judge((header + &line).as_bytes()).is_err());
}

#[test]
fn what_is_followed_is_bounded() {
    // Every second entry is said to be erased by one that never comes: each is a range of its own.
    let many = 2 * RANGES_FOLLOWED_MAX as u64 + 10;
    let erased = file(many, |seq, bytes| match seq % 2 {
        0 => erased_line(Hash::leaf(bytes), many + 1),
        _ => entry_line(bytes).unwrap(),
    });
    // The entries between have sealed values that are not there, so these end it at the same bound.
    let error = judge(erased.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("verify the log in parts"), "{error}");
    // And each by an entry of its own.
    let erased = file(many, |seq, bytes| match seq % 2 {
        0 => erased_line(Hash::leaf(bytes), many + seq),
        _ => entry_line(bytes).unwrap(),
    });
    assert!(judge(erased.as_bytes()).is_err());
}

#[test]
fn numbers_at_the_ends_are_refused_without_a_panic() {
    let good = file(2, |_, bytes| entry_line(bytes).unwrap());
    for (from, to) in [
        ("\"from\":0", "\"from\":18446744073709551615"),
        ("\"from\":0", "\"from\":9007199254740992"),
        ("\"size\":2", "\"size\":18446744073709551615"),
        ("\"seq\":1", "\"seq\":18446744073709551615"),
        ("\"seq\":0", "\"seq\":18446744073709551615"),
    ] {
        assert!(judge(good.replace(from, to).as_bytes()).is_err(), "{to}");
    }
    let header = Header::whole(signer().key().clone(), 1).to_line();
    for line in [
        erased_line(Hash::empty(), u64::MAX),
        erased_line(Hash::empty(), 0),
        value_line(Side::New, u64::MAX, &Sealed::new(String::new(), [0; 32]).unwrap()),
    ] {
        assert!(judge((header.clone() + &line).as_bytes()).is_err(), "{line}");
        assert!(judge(line.as_bytes()).is_err());
    }
}

/// Pieces that files, notes and proofs consist of, so that chance comes further than the first byte.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let note = "fleet.example/audit\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n";
    let known: Vec<&'static [u8]> = vec![
        b"{\"leaf\":\"",
        b"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        b"\",\"entry\":",
        b"{\"v\":1,\"seq\":0,\"at\":0,\"clock\":\"unknown\",",
        b"\"who\":{\"kind\":\"server\",\"id\":\"server\"},",
        b"\"action\":\"audit.begin\",\"subject\":{\"kind\":\"log\",\"id\":\"x\"}}",
        b"}\n",
        b"{\"checkpoint\":\"",
        b"\\n\\n",
        b"{\"log\":\"",
        b"\",\"erased\":9}\n",
        b"{\"value\":\"new\",\"of\":0,\"salt\":\"",
        b"\xe2\x80\x94 fleet.example/audit ",
        b"c2sp.org/tlog-proof@v1\nindex 0\n",
        b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
        b"\n",
        b" ",
        b"+",
        b"0-3,",
        note.as_bytes(),
    ];
    let piece = prop_oneof![
        4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_a_reader_and_what_is_read_is_what_was_written(bytes in pieces()) {
        prop_assert!(judge(&bytes).is_err());
        let header = Header::whole(signer().key().clone(), 1).to_line();
        prop_assert!(judge(&[header.as_bytes(), &bytes].concat()).is_err());
        if let Ok(entry) = Entry::parse(&bytes) {
            prop_assert_eq!(entry.to_bytes(), bytes.clone());
        }
        if let Ok(note) = Note::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes.clone());
            prop_assert!(note.verify(signer().key()).is_err());
            if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
                prop_assert_eq!(checkpoint.to_string(), note.text());
            }
        }
        if let Ok(proof) = Proof::parse(&bytes) {
            prop_assert!(proof.verify(b"", signer().key()).is_err());
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(key) = text.parse::<VerifierKey>() {
            prop_assert_eq!(key.to_string(), text.clone());
        }
        if let Ok(erasure) = text.parse::<Erasure>() {
            prop_assert_eq!(erasure.to_string(), text.clone());
        }
        if let Ok(anchor) = text.parse::<Anchor>() {
            prop_assert_eq!(anchor.to_string(), text);
        }
        let _ = receive(Anchor::begin("press-4"), [bytes.as_slice()]);
        let _ = verify_chain("press-4", [bytes.as_slice()], &[]);
    }

    #[test]
    fn a_file_with_a_few_changes_never_holds_unless_it_is_the_same(
        changes in proptest::collection::vec((0..2000usize, any::<u8>(), 0..3u8), 1..5),
    ) {
        let good = file(4, |_, bytes| entry_line(bytes).unwrap()).into_bytes();
        let mut bytes = good.clone();
        for (at, byte, how) in changes {
            let at = at % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        prop_assert_eq!(judge(&bytes).is_ok(), bytes == good);
    }

    #[test]
    fn random_proofs_prove_nothing(
        index in any::<u64>(), size in any::<u64>(), seeds in proptest::collection::vec(any::<u8>(), 0..70),
    ) {
        let hashes: Vec<Hash> = seeds.iter().map(|seed| Hash::leaf(&[*seed])).collect();
        let (leaf, root) = (Hash::leaf(b"x"), Hash::leaf(b"y"));
        prop_assert!(verify_inclusion(leaf, index, size, root, &hashes).is_err());
        prop_assert!(verify_consistency(index, leaf, size, root, &hashes).is_err());
    }
}
