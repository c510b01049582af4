//! The description of the API against its operations, and answers that take too long.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::{Request, StatusCode};
use tower::ServiceExt as _;

use super::{api, in_time, pages};
use crate::refusal::Refusal;

/// What somebody reads whose answer never comes; time passes by itself where nothing else happens.
async fn late<F: From<Refusal> + IntoResponse + 'static>() -> String {
    let router: Router = Router::new().route("/", get(std::future::pending::<()>));
    let router = router.layer(from_fn(in_time::<F>));
    let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    String::from_utf8(to_bytes(answer.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_too_long_is_told_so_in_the_form_that_fits() {
    let [for_programs, for_people] = [late::<api::Failed>().await, late::<pages::Failed>().await];
    let read: serde_json::Value = serde_json::from_str(&for_programs).unwrap();
    assert_eq!(read["reason"], "late");
    assert!(for_people.contains("<html") && for_people.contains("did not answer in time"), "{for_people}");
}

#[test]
fn the_description_names_every_operation_and_no_other() {
    let described: serde_yaml::Value = serde_yaml::from_str(api::DESCRIPTION).unwrap();
    let mut listed = Vec::new();
    for (path, operations) in described["paths"].as_mapping().unwrap() {
        for (method, _) in operations.as_mapping().unwrap() {
            let method = method.as_str().unwrap();
            if method != "parameters" {
                listed.push(format!("{method} {}", path.as_str().unwrap()));
            }
        }
    }
    let mut served: Vec<String> =
        api::operations().iter().map(|one| format!("{} {}", one.method, one.path)).collect();
    listed.sort();
    served.sort();
    assert_eq!(listed, served);
}

/// What a reference names.
fn resolved<'a>(root: &'a serde_yaml::Value, reference: &str) -> Option<&'a serde_yaml::Value> {
    reference.strip_prefix("#/")?.split('/').try_fold(root, |value, key| value.get(key))
}

fn references(value: &serde_yaml::Value, found: &mut Vec<String>) {
    match value {
        serde_yaml::Value::Mapping(map) => {
            for (key, value) in map {
                if key.as_str() == Some("$ref") {
                    found.extend(value.as_str().map(str::to_owned));
                }
                references(value, found);
            }
        }
        serde_yaml::Value::Sequence(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let described: serde_yaml::Value = serde_yaml::from_str(api::DESCRIPTION).unwrap();
    let mut found = Vec::new();
    references(&described, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        assert!(resolved(&described, &reference).is_some(), "{reference}");
    }
}
