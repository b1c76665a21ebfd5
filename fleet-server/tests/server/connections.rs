//! What a client may send over one connection, whatever becomes of its first request.

use crate::running::{PATIENCE, Running};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// More than a server finds of a body when it looks once.
const LARGE: usize = 1 << 20;
/// The most that is read of a body that nobody wants.
const UNWANTED_BYTES_MAX: usize = 8 << 20;

struct Connection {
    stream: BufReader<TcpStream>,
}

/// The head of an answer.
struct Head {
    status: u16,
    closes: bool,
}

impl Connection {
    fn to(server: &Running) -> Connection {
        let stream = TcpStream::connect(server.http.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream: BufReader::new(stream) }
    }

    fn send(&mut self, head: &str, body: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{head}\r\nhost: x\r\n").as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        stream.write_all(body).unwrap();
    }

    /// An answer; its body is read.
    fn answer(&mut self) -> Head {
        let mut line = String::new();
        let mut lines = Vec::new();
        while self.stream.read_line(&mut line).unwrap() > 2 {
            lines.push(line.trim().to_ascii_lowercase());
            line.clear();
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
        let length = header("content-length: ").unwrap().parse().unwrap();
        self.stream.read_exact(&mut vec![0; length]).unwrap();
        Head { status, closes: header("connection: ") == Some("close") }
    }

    /// Whether the server has ended it.
    fn is_ended(&mut self) -> bool {
        self.stream.read(&mut [0]).unwrap() == 0
    }
}

#[test]
fn a_request_that_is_refused_leaves_the_connection_to_the_next_one() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let token = &server.token;
    let mut connection = Connection::to(&server);
    for (head, status) in [
        ("POST /api/v1/devices HTTP/1.1".to_owned(), 401),
        ("PUT /api/v1/releases HTTP/1.1\r\nauthorization: Bearer x".to_owned(), 401),
        (format!("POST /api/v1/devices HTTP/1.1\r\nauthorization: Bearer {token}"), 413),
        ("POST /nowhere HTTP/1.1".to_owned(), 404),
        ("POST /api/v1/health HTTP/1.1".to_owned(), 405),
        ("PATCH /v2/turbine/blobs/uploads/x HTTP/1.1".to_owned(), 401),
    ] {
        let body = vec![b' '; LARGE];
        connection.send(&format!("{head}\r\ncontent-length: {LARGE}"), &body);
        let answer = connection.answer();
        assert_eq!((answer.status, answer.closes), (status, false), "{head}");
    }
    connection.send("GET /api/v1/health HTTP/1.1", b"");
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn a_connection_that_ends_with_an_answer_says_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    // It promises more than anybody reads.
    let mut connection = Connection::to(&server);
    let body = vec![b' '; UNWANTED_BYTES_MAX + 1];
    connection.send("POST /api/v1/devices HTTP/1.1\r\ncontent-length: 99999999", &body);
    let answer = connection.answer();
    assert_eq!((answer.status, answer.closes), (401, true));
    assert!(connection.is_ended());
    // It asks before it sends, and never does.
    let mut connection = Connection::to(&server);
    let head = "POST /api/v1/devices HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 9";
    connection.send(head, b"");
    let answer = connection.answer();
    assert_eq!((answer.status, answer.closes), (401, true));
    assert!(connection.is_ended());
}
