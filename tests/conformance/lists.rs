//! Lists: selectors and pages.

use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::subject::{Subject, on_each, refusal, typed};

async fn five(subject: &Subject) {
    for n in 0..5 {
        let parity = if n % 2 == 0 { "even" } else { "odd" };
        let map = typed(json!({"metadata": {"name": format!("m{n}"), "labels": {"parity": parity}}}));
        subject.config_maps().create(&PostParams::default(), &map).await.unwrap();
    }
}

async fn names(subject: &Subject, params: &ListParams) -> Vec<String> {
    let list = subject.config_maps().list(params).await.unwrap();
    let names = list.items.into_iter().map(|m| m.metadata.name.unwrap());
    // A cluster puts its root certificate into each namespace.
    names.filter(|name| name.starts_with('m')).collect()
}

#[tokio::test]
async fn selectors_select() {
    on_each(|subject| async move {
        five(&subject).await;
        for (selector, wanted) in [
            ("parity=even", vec!["m0", "m2", "m4"]),
            ("parity!=even,parity", vec!["m1", "m3"]),
            ("parity in (odd, none)", vec!["m1", "m3"]),
            ("parity notin (odd),parity", vec!["m0", "m2", "m4"]),
        ] {
            assert_eq!(names(&subject, &ListParams::default().labels(selector)).await, wanted, "{selector}");
        }
        let one = ListParams::default().fields("metadata.name=m3");
        assert_eq!(names(&subject, &one).await, ["m3"]);
        let others = ListParams::default().fields("metadata.name!=m3").labels("parity=odd");
        assert_eq!(names(&subject, &others).await, ["m1"]);
        let bad = refusal(subject.config_maps().list(&ListParams::default().labels("a in b")).await);
        assert_eq!(bad.code, 400);
        let bad = refusal(subject.config_maps().list(&ListParams::default().fields("data.a=1")).await);
        assert_eq!((bad.code, bad.reason.as_str()), (400, "BadRequest"));
        assert_eq!(
            bad.message,
            "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        let bad = refusal(subject.services().list(&ListParams::default().fields("data.a=1")).await);
        assert_eq!(bad.message, "field label not supported: data.a");
    })
    .await;
}

#[tokio::test]
async fn pages_make_up_the_list() {
    on_each(|subject| async move {
        five(&subject).await;
        let mut params = ListParams::default().limit(2).labels("parity");
        let mut seen = Vec::new();
        let mut versions = Vec::new();
        loop {
            let page = subject.config_maps().list(&params).await.unwrap();
            assert!(page.items.len() <= 2);
            seen.extend(page.items.into_iter().map(|m| m.metadata.name.unwrap()));
            versions.push(page.metadata.resource_version.unwrap());
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
        versions.dedup();
        assert_eq!(versions.len(), 1, "all pages are of one version");
        let bad =
            refusal(subject.config_maps().list(&ListParams::default().continue_token("nonsense")).await);
        assert_eq!(bad.code, 400);
    })
    .await;
}
