//! Who may do what: each route, and each role.

use crate::openapi::House;
use crate::running::{As, Reply};
use serde_json::{Value, json};
use std::fmt::Write;

/// What each role may do, as docs/access.md says.
const ROLES: [(&str, &[&str]); 5] = [
    ("viewer", &["look"]),
    ("operator", &["look", "operate", "enrol"]),
    ("approver", &["look", "approve"]),
    ("release-manager", &["look", "release"]),
    ("admin", &["look", "operate", "enrol", "approve", "release", "administer"]),
];

/// The right that a route needs, as the document has it; none where there is no such thing.
fn right(operation: &Value) -> Option<String> {
    let ways = operation["security"].as_array()?;
    let person = ways.iter().find_map(|way| way["person"].as_array())?;
    person.first()?.as_str().map(str::to_owned)
}

fn is_let(reply: &Reply) -> bool {
    ![401, 403].contains(&reply.status)
}

#[test]
fn each_route_is_open_to_those_who_have_its_right_and_to_nobody_else() {
    let house = House::new();
    let tokens = ROLES.map(|(role, rights)| (role, house.log_in(role), rights));
    for (method, path, operation) in house.routes() {
        let Some(right) = right(&operation) else { continue };
        for (role, token, rights) in &tokens {
            let what = format!("{role}: {method} {path}");
            house.make_whole();
            let (place, body) = house.good(&method, &path);
            let reply = house.ask_as(&method, &place, As::Token(token), &body);
            // Who wants something of a rollout approves here.
            let right = if path.ends_with("/wishes") { "approve" } else { &right };
            let expected = rights.contains(&right);
            assert_eq!(is_let(&reply), expected, "{what}: {} {}", reply.status, reply.text());
            // What the administrator has begun to upload is nobody else's.
            let done = reply.status < 300 || path.contains("{upload}");
            assert!(!expected || done, "{what}: {} {}", reply.status, reply.text());
        }
    }
}

#[test]
fn the_table_of_the_documentation_is_that_of_the_routes() {
    let house = House::new();
    let mut table = String::from("| route | right |\n|---|---|\n");
    for (method, path, operation) in house.routes() {
        let ways = operation["security"].as_array().cloned().unwrap_or_default();
        let has = |name: &str| ways.iter().any(|way| way[name].is_array());
        let right = match right(&operation) {
            _ if path.ends_with("/wishes") => "approve, for approving; else operate".to_owned(),
            Some(right) => right,
            None if has("person") => "whoever has logged in".into(),
            None if has("device") => String::new(),
            None => "everybody".into(),
        };
        let others = [("device", "devices"), ("role", "vendors, what is theirs")];
        let others =
            others.iter().filter(|(name, _)| has(name)).map(|(_, words)| (*words).to_owned());
        let who: Vec<String> =
            [right].into_iter().filter(|right| !right.is_empty()).chain(others).collect();
        writeln!(table, "| `{method} {path}` | {} |", who.join("; ")).unwrap();
    }
    let page = include_str!("../../../docs/access.md");
    assert!(page.contains(&table), "docs/access.md has to have this table:\n{table}");
}

#[test]
fn who_has_to_do_with_a_site_sees_and_does_nothing_elsewhere() {
    let house = House::new();
    let server = &house.server;
    let made = |name: &str, site: &str| {
        let new = json!({ "name": name, "site": site, "labels": { "line": "3" } }).to_string();
        assert_eq!(
            server.ask("POST", "/api/v1/devices", As::Administrator, new.as_bytes()).status,
            201
        );
    };
    (0..5).for_each(|number| made(&format!("dale-{number}"), "dale"));
    made("shore-1", "shore");
    let granted = json!({ "grants": [{ "role": "operator", "sites": ["dale"] }] }).to_string();
    let program = house.ask("POST", "/api/v1/programs/dale", granted.as_bytes()).json();
    let token = program["token"].as_str().unwrap();
    let ask =
        |method: &str, path: &str, body: &[u8]| server.ask(method, path, As::Token(token), body);
    // A page has as many as there are, however many others there are between them.
    let page = ask("GET", "/api/v1/devices?limit=3", b"").json();
    let names = |page: &Value| -> Vec<String> {
        page.as_array()
            .unwrap()
            .iter()
            .map(|device| device["name"].as_str().unwrap().into())
            .collect()
    };
    assert_eq!(names(&page), ["dale-0", "dale-1", "dale-2"]);
    let rest = ask("GET", "/api/v1/devices?limit=3&after=dale-2", b"").json();
    assert_eq!(names(&rest), ["dale-3", "dale-4"]);
    // Of others he does not hear that they are there.
    let there = ask("GET", "/api/v1/devices/shore-1", b"");
    let nowhere = ask("GET", "/api/v1/devices/nobody", b"");
    assert_eq!((there.status, nowhere.status), (404, 404));
    assert_eq!(there.text().replace("shore-1", "nobody"), nowhere.text());
    assert_eq!(ask("GET", "/api/v1/devices/dale-1/events", b"").status, 200);
    assert_eq!(ask("GET", "/api/v1/devices/shore-1/events", b"").status, 404);
    assert_eq!(ask("DELETE", "/api/v1/devices/shore-1", b"").status, 404);
    assert_eq!(ask("POST", "/api/v1/devices/shore-1/password", b"").status, 404);
    let assign = b"{\"release\":\"turbine/1\"}";
    assert_eq!(ask("PUT", "/api/v1/devices/shore-1/slots/turbine", assign).status, 404);
    assert_eq!(ask("PUT", "/api/v1/devices/dale-1/slots/turbine", assign).status, 200);
    // He takes them nowhere else, and none from elsewhere.
    let place = |site: &str| json!({ "site": site, "labels": { "line": "3" } }).to_string();
    let to = |device: &str, site: &str| {
        ask("PUT", &format!("/api/v1/devices/{device}/place"), place(site).as_bytes()).status
    };
    assert_eq!(
        (to("dale-1", "shore"), to("shore-1", "dale"), to("dale-1", "dale")),
        (403, 404, 204)
    );
    // He adds devices where he has to do with them.
    let new = |site: &str| json!({ "name": format!("new-{site}"), "site": site }).to_string();
    assert_eq!(ask("POST", "/api/v1/devices", new("shore").as_bytes()).status, 403);
    assert_eq!(ask("POST", "/api/v1/devices", new("dale").as_bytes()).status, 201);
    // The fleet as a whole is not his.
    for path in ["/api/v1/rollouts", "/metrics", "/api/v1/audit/checkpoint", "/api/v1/people"] {
        assert_eq!(ask("GET", path, b"").status, 403, "{path}");
    }
    let drift =
        |scope: &str| ask("GET", &format!("/api/v1/summary?slot=turbine{scope}"), b"").status;
    assert_eq!(drift("&site=dale"), 200);
    assert_eq!(drift("&device=dale-1"), 200);
    for scope in ["", "&site=shore", "&label=line%3D3"] {
        assert_eq!(drift(scope), 403, "{scope}");
    }
    assert_eq!(drift("&device=shore-1"), 404);
    // Taken back, it opens nothing.
    assert_eq!(house.ask("DELETE", "/api/v1/programs/dale", b"").status, 204);
    assert_eq!(ask("GET", "/api/v1/devices", b"").status, 401);
}

#[test]
fn approving_is_for_people_under_their_own_names() {
    let house = House::new();
    let server = &house.server;
    let granted = json!({ "grants": [{ "role": "admin" }] }).to_string();
    let program = house.ask("POST", "/api/v1/programs/robot", granted.as_bytes()).json();
    let robot = program["token"].as_str().unwrap().to_owned();
    let (place, body) = house.good("POST", "/api/v1/rollouts/{rollout}/wishes");
    let refused = server.ask("POST", &place, As::Token(&robot), &body).error(403);
    assert!(refused.contains("for people"), "{refused}");
    assert_eq!(server.ask("GET", "/api/v1/people", As::Token(&robot), b"").status, 403);
    // The administrator's token does not speak for people who can log in.
    let posing = b"{\"wish\":\"approve\",\"by\":\"ben\"}";
    let refused = server.ask("POST", &place, As::Administrator, posing).error(403);
    assert!(refused.contains("logs in"), "{refused}");
    // Nor does one of them for another.
    let token = house.log_in("admin");
    let approved = server.ask("POST", &place, As::Token(&token), posing);
    assert_eq!(approved.status, 200, "{}", approved.text());
    assert!(approved.text().contains("@somebody-"), "{}", approved.text());
    assert!(!approved.text().contains("ben"), "{}", approved.text());
}

#[test]
fn who_enters_the_first_time_sets_a_password_of_his_own_before_anything_else() {
    let house = House::new();
    let server = &house.server;
    let new = json!({ "name": "anna", "grants": [{ "role": "viewer" }] }).to_string();
    let made = house.ask("POST", "/api/v1/people", new.as_bytes()).json();
    let first = made["password"].as_str().unwrap();
    let enter = |password: &str| {
        let entering = json!({ "name": "anna", "password": password }).to_string();
        server.ask("POST", "/api/v1/session", As::Nobody, entering.as_bytes())
    };
    assert_eq!(enter("something else entirely").status, 401);
    let begun = enter(first).json();
    assert_eq!(begun["must_set_password"], true);
    let token = begun["token"].as_str().unwrap();
    let said = server.ask("GET", "/api/v1/devices", As::Token(token), b"").error(403);
    assert!(said.contains("password of his own"), "{said}");
    let set = |new: &str| {
        let change = json!({ "old": first, "new": new }).to_string();
        server.ask("PUT", "/api/v1/session/password", As::Token(token), change.as_bytes()).status
    };
    assert_eq!(set("too short"), 400);
    assert_eq!(set("this is long enough"), 204);
    assert_eq!(server.ask("GET", "/api/v1/devices", As::Token(token), b"").status, 200);
    assert_eq!(enter(first).status, 401);
    // A browser shows Basic to whatever page asks it to: people do not come by it here.
    let basic = server.ask("GET", "/api/v1/devices", As::Device("admin", &server.token), b"");
    assert_eq!(
        (basic.status, basic.header("www-authenticate")),
        (401, "Bearer realm=\"lineside\"")
    );
    assert_eq!(server.ask("GET", "/v2/", As::Device("admin", &server.token), b"").status, 200);
    let who = server.ask("GET", "/api/v1/session", As::Token(token), b"").json();
    assert_eq!((&who["name"], &who["is_fresh"]), (&json!("anna"), &json!(true)));
    assert_eq!(server.ask("DELETE", "/api/v1/session", As::Token(token), b"").status, 204);
    assert_eq!(server.ask("GET", "/api/v1/devices", As::Token(token), b"").status, 401);
    // Guessing is counted.
    for _ in 0..6 {
        enter("a guess that is wrong");
    }
    assert_eq!(enter("this is long enough").status, 429);
}
