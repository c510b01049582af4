//! Pages: what people see and do without JavaScript, and what strangers and other sites cannot do.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{PASSWORD, Request, Served};
use serde_json::json;

#[test]
fn a_group_is_founded_asked_for_and_joined_with_forms_alone() {
    let served = Served::new();
    let (mut ann, mut bob) = (served.browser(), served.browser());
    ann.sign_up("ann");
    bob.sign_up("bob");
    assert_eq!(ann.post(("/", "/groups"), &[("name", "chess")]).header("location"), "/groups/chess");
    assert!(bob.get("/groups/chess").body.contains("Ask to be let in"));
    bob.post(("/groups/chess", "/groups/chess/ask"), &[]);
    assert!(bob.get("/groups/chess").body.contains("You asked to be let in"));
    assert!(ann.get("/groups/chess/requests").body.contains("<strong>bob</strong>"));
    let page = "/groups/chess/requests";
    assert_eq!(ann.post((page, "/groups/chess/requests/bob"), &[("answer", "admit")]).status, 303);
    let shown = bob.get("/groups/chess").body;
    assert!(shown.contains("2 members") && shown.contains("Download chess.atoll"), "{shown}");
    assert!(bob.get("/").body.contains("href=\"/groups/chess\""));
    let file = bob.get("/groups/chess/file");
    assert!(file.header("content-disposition").contains("chess.atoll"));
    assert!(file.body.contains("name: bob") && file.body.contains("192.0.2.1:4001"), "{}", file.body);
    let link = bob.post(("/groups/chess", "/groups/chess/link"), &[]).body;
    assert!(link.contains("atoll://join?site=https://") && link.contains("<svg"), "{link}");
    assert_eq!(bob.get("/groups/chess/requests").status, 403, "he is no administrator");
}

#[test]
fn an_invitation_lets_in_as_many_as_it_says_and_no_longer_than_it_says() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    let page = "/groups/chess/invitations";
    let mut invite = |uses: &str| {
        let shown = ann.post((page, page), &[("uses", uses), ("days", "2")]).body;
        let (_, rest) = shown.split_once("/invite/chess/").expect("the link");
        format!("/invite/chess/{}", rest.split('<').next().unwrap())
    };
    let link = invite("1");
    let (mut bob, mut eve) = (served.browser(), served.browser());
    let sent = bob.get(&link).header("location").to_owned();
    assert_eq!(sent, format!("/login?next={link}"), "who is not logged in comes back after that");
    bob.sign_up("bob");
    assert_eq!(bob.post((&link, &link), &[]).status, 303);
    assert!(bob.get("/groups/chess").body.contains("2 members"));
    eve.sign_up("eve");
    assert_eq!(eve.get(&link).status, 410, "it was for one");
    assert_eq!(eve.post(("/", &link), &[]).status, 410);
    let late = invite("5");
    served.pass(2 * 86_400);
    let mut eve = served.browser();
    eve.post(("/login", "/login"), &[("name", "eve"), ("password", PASSWORD)]);
    assert_eq!(eve.get(&late).status, 410);
    assert_eq!(eve.post(("/", &late), &[]).status, 410);
}

#[test]
fn a_form_that_this_browser_was_not_shown_does_nothing() {
    let served = Served::new();
    let (mut ann, mut eve) = (served.browser(), served.browser());
    ann.sign_up("ann");
    eve.sign_up("eve");
    let foreign = eve.token("/");
    let fields = [("name", "chess")];
    for token in ["", "0", &foreign] {
        assert_eq!(ann.post_with("/groups", token, &fields).status, 403, "`{token}`");
    }
    let own = ann.token("/");
    let cookie = ann.cookie.clone().unwrap();
    let body = format!("form={own}&name=chess");
    let kind = "application/x-www-form-urlencoded".to_owned();
    let request =
        Request { method: "POST", path: "/groups", headers: vec![("Content-Type", kind)], body: &body };
    let crossing = request.with("Cookie", cookie).with("Sec-Fetch-Site", "cross-site".to_owned());
    assert_eq!(served.ask(&crossing).status, 403, "the browser says whose page it was");
    assert!(!ann.get("/").body.contains("/groups/chess"));
    assert_eq!(ann.post_with("/groups", &own, &fields).status, 303);
}

#[test]
fn logging_in_gives_another_cookie_and_logging_out_ends_it() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    let mut browser = served.browser();
    browser.get("/login");
    let planted = browser.cookie.clone();
    let fields = [("name", "ann"), ("password", PASSWORD)];
    let answer = browser.post(("/login", "/login"), &fields);
    let cookie = answer.header("set-cookie").to_owned();
    for part in ["__Host-atoll=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_ne!(browser.cookie, planted);
    let kept = browser.cookie.clone();
    browser.cookie = planted;
    assert!(browser.get("/account").header("location").starts_with("/login"), "who planted it is nobody");
    browser.cookie = kept.clone();
    assert_eq!(browser.get("/account").status, 200);
    browser.post(("/account", "/logout"), &[]);
    browser.cookie = kept;
    assert_eq!(browser.get("/account").status, 303, "the server forgot it, too");
}

#[test]
fn a_log_in_ends_with_time_and_with_a_new_password() {
    let served = Served::new();
    let ann = served.program("ann");
    let other = served.ask(&Request::json(
        "POST",
        "/api/v1/logins",
        &json!({"name": "ann", "password": PASSWORD}).to_string(),
    ));
    let other =
        common::Program { served: &served, token: other.json()["token"].as_str().unwrap().to_owned() };
    let change = json!({"old": PASSWORD, "new": "another horse"});
    let fresh =
        ann.done("PUT", "/api/v1/account/password", &change).json()["token"].as_str().unwrap().to_owned();
    other.refused(("GET", "/api/v1/account"), &json!(null), "not_logged_in");
    let ann = common::Program { served: &served, token: fresh };
    ann.done("GET", "/api/v1/account", &json!(null));
    for _ in 0..6 {
        served.pass(86_000);
        ann.done("GET", "/api/v1/account", &json!(null));
    }
    served.pass(86_401);
    ann.refused(("GET", "/api/v1/account"), &json!(null), "not_logged_in");
}

#[test]
fn what_people_write_is_never_markup_and_never_sql() {
    let served = Served::new();
    let mut ann = served.browser();
    ann.sign_up("ann");
    for name in ["<script>", "a'; DROP TABLE groups; --", "\"onload=", "..", "a b", "", &"x".repeat(65)] {
        assert_eq!(ann.post(("/", "/groups"), &[("name", name)]).status, 422, "{name}");
        let fields = [("name", name), ("password", PASSWORD), ("again", PASSWORD)];
        let answer = served.browser().post(("/signup", "/signup"), &fields);
        assert_eq!(answer.status, 422, "{name}");
        assert!(!answer.body.contains("<script>") && !answer.body.contains("\"onload="), "{}", answer.body);
    }
    let page = ann.get("/login?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").body;
    assert!(!page.contains("<script>"), "{page}");
    ann.post(("/", "/groups"), &[("name", "chess")]);
    let odd = ann.get("/groups/chess?after=%27%20OR%201=1%20--%3Cscript%3E");
    assert!(odd.status == 200 && !odd.body.contains("<script>"));
}

#[test]
fn every_answer_carries_what_protects_it() {
    let served = Served::new();
    for path in ["/", "/login", "/style.css", "/nowhere", "/api/v1/groups", "/api/v1/nowhere"] {
        let answer = served.ask(&Request::get(path));
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(!answer.header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(answer.header("strict-transport-security").contains("max-age"), "{path}");
        assert!(!answer.body.contains("<script") && !answer.body.contains("style=\""), "{path}");
        let kept = answer.header("cache-control");
        assert_eq!(kept == "no-store", path != "/style.css", "{path}: {kept}");
    }
    assert_eq!(served.ask(&Request::get("/api/v1/nowhere")).reason(), "not_found");
}

#[test]
fn guessing_passwords_ends_soon_and_says_nothing_about_names() {
    let served = Served::new();
    served.program("ann");
    let guess = |name: &str| {
        let body = json!({"name": name, "password": "wrong horses"}).to_string();
        served.ask(&Request::json("POST", "/api/v1/logins", &body)).reason()
    };
    let somebody: Vec<String> = (0..12).map(|_| guess("ann")).collect();
    let nobody: Vec<String> = (0..12).map(|_| guess("nobody")).collect();
    assert_eq!(somebody, nobody);
    assert_eq!((&*somebody[0], &*somebody[11]), ("wrong_credentials", "too_often"));
    let others: Vec<String> = (0..40).map(|n| guess(&format!("user{n}"))).collect();
    assert_eq!(others.last().unwrap(), "too_often", "one place has a bucket for all names");
}

#[test]
fn enormous_and_malformed_bodies_are_refused_and_the_site_goes_on() {
    let served = Served::new();
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(100_000));
    assert_eq!(served.ask(&Request::json("POST", "/api/v1/logins", &large)).status, 413);
    assert_eq!(served.ask(&Request::json("POST", "/api/v1/enrol", &large)).status, 413);
    for body in
        ["", "{", "[]", "null", "{\"name\": 1}", "\u{0}", "{\"name\":\"a\",\"password\":\"b\",\"x\":1}"]
    {
        assert_eq!(
            served.ask(&Request::json("POST", "/api/v1/logins", body)).reason(),
            "malformed",
            "{body}"
        );
    }
    let long = "x".repeat(40_000);
    let _ = served.ask(&Request::get("/").with("X-Long", long));
    let announced = Request::json("POST", "/api/v1/groups/chess/revocations", "{}");
    assert_eq!(served.ask(&announced).status, 401, "no list is read of a stranger");
    assert_eq!(served.ask(&Request::get("/")).status, 200);
}

#[test]
fn members_are_shown_fifty_at_a_time_each_once() {
    let served = Served::new();
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let made = ann.done("POST", "/api/v1/groups/chess/invitations", &json!({"uses": 60, "days": 1})).json();
    let accept = json!({"token": made["token"]});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let names: Vec<String> = (0..52).map(|n| format!("user{n:03}")).collect();
    for name in &names {
        // From other places each: one place signs up a few.
        let place = std::net::IpAddr::from([192, 0, 2, name[4..].parse().unwrap()]);
        let token = runtime.block_on(served.site.sign_up(name, PASSWORD, place.into())).unwrap().token.text();
        common::Program { served: &served, token }.done("POST", "/api/v1/groups/chess/membership", &accept);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/groups/chess/members?after={after}");
        let page = ann.done("GET", &path, &json!(null)).json();
        let rows = page["rows"].as_array().unwrap();
        assert!(rows.len() <= 50);
        seen.extend(rows.iter().map(|row| row["user"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    let expected: Vec<String> = ["ann".to_owned()].into_iter().chain(names).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_group_has_so_many_invitations_and_the_refusal_says_how_many() {
    let served = Served::new();
    let ann = served.program("ann");
    ann.done("POST", "/api/v1/groups", &json!({"name": "chess"}));
    let database = served.folder.as_ref().unwrap().path().join("data/site.sqlite");
    let database = rusqlite::Connection::open(database).unwrap();
    for number in 0..255_u8 {
        let sql = "INSERT INTO invitations (group_id, token, maker, uses, ends) VALUES (1, ?1, 'ann', 1, ?2)";
        database.execute(sql, rusqlite::params![[number], common::START as i64 + 86_400]).unwrap();
    }
    let path = "/api/v1/groups/chess/invitations";
    let wanted = json!({"uses": 1, "days": 1});
    ann.done("POST", path, &wanted);
    let all = ann.done("GET", path, &json!(null)).json();
    assert_eq!(all.as_array().unwrap().len(), 256);
    let answer = ann.ask("POST", path, &wanted);
    assert_eq!((answer.status, &*answer.reason()), (409, "too_many"));
    assert!(answer.body.contains("256"), "{}", answer.body);
    ann.done("DELETE", &format!("{path}/{}", all[0]["id"]), &json!(null));
    ann.done("POST", path, &wanted);
    let said = served.ask(&Request::get("/api/v1/openapi.yaml")).body;
    let invitations = said.lines().find(|line| line.trim().starts_with("Invitations:")).unwrap();
    assert!(invitations.contains("maxItems: 256"), "the description says the same");
}
