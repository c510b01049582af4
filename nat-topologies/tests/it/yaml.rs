//! Presets and topology files: what they mean, and what an error says.

use std::time::Duration;

use atoll_topology::*;

fn load(_: &str) -> Result<String, String> {
    Err("no such file".into())
}

fn read(text: &str) -> Result<Topology, TopologyError> {
    Topology::from_yaml(text, [1; 32], load)
}

fn error(text: &str) -> TopologyError {
    read(text).unwrap_err()
}

#[test]
fn every_preset_is_read_and_says_which_rfc_or_field_it_is_from() {
    assert_eq!(preset_names().count(), 13);
    assert!(preset_names().is_sorted());
    for name in preset_names() {
        preset(name).unwrap().check().unwrap();
        let source = preset_source(name).unwrap();
        assert!(source.starts_with('#') && source.contains("In the field:"), "{name}");
    }
    assert_eq!(preset("port-restricted-cone").unwrap(), Gateway::default());
    assert_eq!(preset("none").unwrap().kind, Kind::None);
}

#[test]
fn a_file_without_its_presets_name_is_the_same_gateway() {
    // Expansion is complete: the data alone decides.
    let by_name = read(
        "gateways: {g: {preset: symmetric}}\nsites: [{name: x, gateways: [{name: r, is: g}], hosts: [{name: h, behind: r}]}]",
    );
    let by_data = read(
        "gateways: {g: {mapping: address-and-port-dependent, ports: random, parity: false}}\nsites: [{name: x, gateways: [{name: r, is: g}], hosts: [{name: h, behind: r}]}]",
    );
    assert_eq!(by_name.unwrap(), by_data.unwrap());
}

const FILE: &str = r#"
latency: 50 ms
path: {jitter: 5 ms, reorder: true, loss: 1 %, burst: {enter: 0.1 %, leave: 30 %, loss: 1.0}, within_site: 2 ms}
gateways:
  office: {preset: symmetric, udp_timeout: 1 min, ports: blocks, block: 512}
populations:
  mobile:
    - {weight: 10}
    - {weight: 90, behind: [port-restricted-cone, carrier-grade]}
hosts:
  - {count: 20, population: mobile}
sites:
  - name: berlin
    gateways:
      - {name: inner, is: office, behind: outer}
      - {name: outer, is: carrier-grade, link: {up: 10 Mbit/s, down: 50 Mbit/s, queue: 128 KB, delay: 8 ms, mtu: 1492}}
    hosts: [{name: alice, behind: inner}, {name: bob, behind: inner}]
  - name: paris
    hosts: [{name: carol}]
"#;

#[test]
fn a_file_says_everything_once() {
    let topology = read(FILE).unwrap();
    assert_eq!(topology.latency, Latency::Constant(Duration::from_millis(50)));
    assert_eq!(topology.path.loss.burst, Some(Burst { enter: 0.001, leave: 0.3, loss: 1.0 }));
    assert_eq!((topology.hosts.len(), topology.sites.len()), (23, 22));
    let alice = topology.hosts.iter().find(|host| host.name == "alice").unwrap();
    let inner = &topology.gateways[alice.gateway.unwrap().0 as usize];
    assert_eq!(inner.behaviour.timers.udp, Duration::from_secs(60));
    assert_eq!(inner.behaviour.ports.block, Some(512));
    let outer = &topology.gateways[inner.behind.unwrap().0 as usize];
    assert_eq!(outer.name, "outer");
    let rate = |bits_per_second| Some(Rate { bits_per_second, queue: 128_000 });
    let (up, down) = (rate(10_000_000), rate(50_000_000));
    assert_eq!(outer.link, Link { delay: Duration::from_millis(8), up, down, mtu: Some(1492) });
    assert!(topology.hosts.last().unwrap().is_public());
    Internet::new(topology, [0; 32]).unwrap();
}

#[test]
fn a_matrix_is_asked_for_by_name() {
    let text =
        "latency: lab.csv\nsites: [{name: a, hosts: [{name: h}]}, {name: b, point: 0, hosts: [{name: i}]}]";
    let matrix = |name: &str| {
        assert_eq!(name, "lab.csv");
        Ok("x,a,b\na,,80\nb,80,\n".into())
    };
    let topology = Topology::from_yaml(text, [1; 32], matrix).unwrap();
    assert_eq!(topology.latency.one_way(0, 1), Duration::from_millis(40));
    let error = error(text);
    assert_eq!((error.line, error.column, error.key.as_str()), (1, 10, "latency"));
    assert!(error.message.contains("no such file"));
}

#[test]
fn an_unknown_key_is_located_and_the_nearest_one_named() {
    let error = error("latency: builtin\ngateways:\n  office:\n    maping: endpoint-independent\n");
    assert_eq!((error.line, error.column), (4, 5), "{error}");
    assert!(error.key.starts_with("gateways.office"), "{}", error.key);
    assert_eq!(error.hint, "did you mean `mapping`?");
    assert!(error.message.contains("unknown field `maping`"));
}

#[test]
fn an_unknown_word_is_located_and_the_nearest_one_named() {
    let error = error("gateways:\n  office:\n    hairpin: of\n");
    assert_eq!((error.line, error.key.as_str()), (3, "gateways.office.hairpin"), "{error}");
    assert_eq!(error.hint, "did you mean `off`?");
}

#[test]
fn unknown_names_are_located_and_the_nearest_ones_named() {
    let preset = error("gateways:\n  office: {preset: symetric}\n");
    assert_eq!((preset.line, preset.column), (2, 20));
    assert_eq!(preset.hint, "did you mean `symmetric`?");
    let population = error("hosts:\n  - {count: 3, population: conse}\n");
    assert_eq!((population.line, population.hint.as_str()), (2, "did you mean `cones`?"));
    let behind = error(
        "sites:\n  - name: a\n    gateways: [{name: router, is: full-cone}]\n    hosts: [{name: h, behind: ruoter}]\n",
    );
    assert_eq!((behind.line, behind.hint.as_str()), (4, "did you mean `router`?"));
    let own = error(
        "gateways:\n  office: {preset: symmetric}\nsites:\n  - name: a\n    gateways: [{name: r, is: ofice}]\n",
    );
    assert_eq!((own.line, own.hint.as_str()), (5, "did you mean `office`?"));
}

#[test]
fn wrong_values_say_what_was_expected() {
    let duration = error("gateways:\n  office:\n    udp_timeout: 120\n");
    assert_eq!(duration.line, 3);
    assert!(duration.message.contains("a duration such as"), "{duration}");
    let share = error("path: {loss: 120 %}\nhosts: [{count: 1, population: none}]");
    assert!(share.message.contains("a share such as") && share.key == "path.loss", "{share}");
    let size = error("gateways:\n  office:\n    ports: blocks\n    block: 3\n");
    assert_eq!((size.line, size.key.as_str()), (4, "gateways.office.block"), "{size}");
    let itself = error("sites: [{name: a, gateways: [{name: x, is: full-cone, behind: x}]}]");
    assert!(itself.message.contains("behind itself"), "{itself}");
    let nobody = error("latency: builtin\n");
    assert!(nobody.message.contains("no hosts") && !nobody.hint.is_empty());
    let text = error("hosts: [unclosed");
    assert!(text.line > 0, "{text}");
}
