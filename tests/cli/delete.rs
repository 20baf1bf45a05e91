//! `tm delete` of several objects.

use serde_json::json;
use wiremock::{
    Mock, ResponseTemplate,
    matchers::{method, path},
};

use crate::target::{SERVICES, asked, status, target};

#[tokio::test]
async fn what_is_not_there_does_not_keep_the_rest() {
    let (server, machine) = target().await;
    let gone = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"});
    for (name, answer) in [
        ("there", ResponseTemplate::new(200).set_body_json(&gone)),
        ("kept", status(403, "Forbidden")),
        ("last", ResponseTemplate::new(200).set_body_json(&gone)),
    ] {
        let one = Mock::given(method("DELETE")).and(path(format!("{SERVICES}/{name}")));
        one.respond_with(answer).mount(&server).await;
    }
    let ran = machine.tm(["delete", "service", "nothing", "there", "kept", "last"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    let expected = [
        "service \"there\" deleted",
        "error: there is no service `nothing` in namespace `blue`",
        "service \"last\" deleted",
        "error: failed to delete service `kept`: refused: Forbidden",
        "hint: an administrator can grant it: `tm setup --dry` prints the Role that users of tm need",
    ];
    assert_eq!(lines, expected, "{ran:?}");

    let dry = machine.tm(["delete", "service", "there", "--dry"]).await;
    assert_eq!((dry.code, dry.stderr.as_str()), (0, "service \"there\" deleted (dry run)\n"), "{dry:?}");
    let sent = server.received_requests().await.expect("requests are recorded");
    let body = sent.last().map(|request| String::from_utf8_lossy(&request.body).into_owned());
    assert!(body.is_some_and(|body| body.contains(r#""dryRun":["All"]"#)), "the server is told");
    assert_eq!(asked(&server).await.len(), 5);
}
