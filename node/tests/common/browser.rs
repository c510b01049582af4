//! Chromium without a window, by the WebDriver protocol (<https://www.w3.org/TR/webdriver2/>) of `chromedriver`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use openssl::base64::decode_block;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{PATIENCE, request, until};

/// The key under which an element's name is answered.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The program that drives browsers; ended when dropped, with all of them.
pub struct Driver {
    child: Child,
    place: SocketAddr,
    /// Where it and its browsers put what they do not remove.
    _folder: TempDir,
}

impl Driver {
    /// Starts it; nothing if there is none on this machine.
    pub fn start() -> Option<Self> {
        let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let child = Process::new("chromedriver")
            .arg(format!("--port={}", place.port()))
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        until("chromedriver listens", || TcpStream::connect(place).ok());
        Some(Self { child, place, _folder: folder })
    }

    /// The answer, with whether it is a good one.
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let text = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.place);
        let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", text.len());
        let (status, said) = request(self.place, &(head + &text));
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{method} {path}: {said}"));
        let value = &said["value"];
        if status == 200 { Ok(value.clone()) } else { Err(format!("{method} {path}: {}", value["message"])) }
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|said| panic!("{said}"))
    }

    /// A browser of its own, whose downloads go to a folder.
    pub fn browser(&self, downloads: &Path) -> Browser<'_> {
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let options = json!({"args": arguments});
        let wanted = json!({"acceptInsecureCerts": true, "goog:chromeOptions": options});
        let made = self.ask("POST", "/session", &json!({"capabilities": {"alwaysMatch": wanted}}));
        let id = made["sessionId"].as_str().unwrap().to_owned();
        let browser = Browser { driver: self, id };
        let folder = downloads.to_str().unwrap();
        browser.tell("Browser.setDownloadBehavior", &json!({"behavior": "allow", "downloadPath": folder}));
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One person's browser; closed when dropped.
pub struct Browser<'a> {
    driver: &'a Driver,
    id: String,
}

impl Browser<'_> {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        self.driver.ask(method, &format!("/session/{}{path}", self.id), body)
    }

    /// A command of the DevTools protocol.
    fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    pub fn open(&self, url: &str) {
        self.ask("POST", "/url", &json!({"url": url}));
    }

    /// What a person reads on the page.
    pub fn text(&self) -> String {
        // Between two pages there is no body, or no page to ask.
        let script = json!({"script": "return document.body ? document.body.innerText : ''", "args": []});
        let said = self.driver.try_ask("POST", &format!("/session/{}/execute/sync", self.id), &script);
        said.ok().and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until the page says this: a click does not wait for the page behind it.
    #[track_caller]
    pub fn reads(&self, part: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.text().contains(part) {
            assert!(Instant::now() < end, "`{part}` is not on the page:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Does this with an element. A click does not wait for the page behind it: until that is there, the element may be
    /// missing, or be one of the page that goes.
    #[track_caller]
    fn with(&self, (by, value): (&str, &str), deeds: &[(&str, Value)]) {
        let attempt = || -> Result<(), String> {
            let ask = |path: &str, body: &Value| {
                self.driver.try_ask("POST", &format!("/session/{}/element{path}", self.id), body)
            };
            let found = ask("", &json!({"using": by, "value": value}))?;
            let element = found[ELEMENT].as_str().unwrap();
            deeds.iter().try_for_each(|(deed, body)| ask(&format!("/{element}/{deed}"), body).map(drop))
        };
        let end = Instant::now() + PATIENCE;
        while let Err(said) = attempt() {
            assert!(Instant::now() < end, "{said}; the page:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fills the field with this name, in a form that people see.
    #[track_caller]
    pub fn fill(&self, name: &str, text: &str) {
        let field = format!("[name='{name}']:not([type=hidden])");
        self.with(("css selector", &field), &[("clear", json!({})), ("value", json!({"text": text}))]);
    }

    /// Fills a field under a heading.
    #[track_caller]
    pub fn fill_under(&self, heading: &str, text: &str) {
        let field = format!("//h2[normalize-space()='{heading}']/..//input[not(@type='hidden')]");
        self.with(("xpath", &field), &[("clear", json!({})), ("value", json!({"text": text}))]);
    }

    /// Clicks on the link or button that is called so.
    #[track_caller]
    pub fn click(&self, name: &str) {
        let called = format!("starts-with(normalize-space(),'{name}') or @aria-label='{name}'");
        let target = format!("//main//*[self::a or self::button][{called}]");
        self.with(("xpath", &target), &[("click", json!({}))]);
    }

    /// Whether nothing is wider than the window.
    pub fn fits(&self) -> bool {
        let script = "return document.documentElement.scrollWidth <= window.innerWidth";
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []})) == json!(true)
    }

    /// Looks as on a screen of this width; 0 is the window's own again.
    pub fn width(&self, pixels: u32) {
        let metrics = json!({"width": pixels, "height": 844, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Keeps a picture of the page.
    pub fn picture(&self, file: &Path) {
        let shot = self.ask("GET", "/screenshot", &Value::Null);
        fs::write(file, decode_block(shot.as_str().unwrap()).unwrap()).unwrap();
    }
}

/// Also when the test fails: a browser outlives the program that drives it.
impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(self.driver.place) else { return };
        let (id, place) = (&self.id, self.driver.place);
        let _ = write!(stream, "DELETE /session/{id} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n");
        // It is gone once this is answered; the connection stays open.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.read(&mut [0]);
    }
}
