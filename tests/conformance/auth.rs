//! The TLS listener wants its token.

use tm_testkit::{api_server::ApiServer, tools};

use crate::subject::engine;

async fn get(server: &ApiServer, path: &str, token: Option<&str>) -> (u16, serde_json::Value) {
    tools::install_tls();
    let authority = reqwest::Certificate::from_pem(server.authority.as_bytes()).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .timeout(crate::subject::PATIENCE)
        .build()
        .unwrap();
    let mut request = client.get(format!("https://{}{path}", server.address));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn without_the_token_nothing_is_said() {
    let server = engine().await;
    for token in [None, Some(""), Some("wrong"), Some(&server.token.reveal()[1..])] {
        let (code, status) = get(&server, "/api/v1/namespaces", token).await;
        assert_eq!((code, status["reason"].as_str()), (401, Some("Unauthorized")));
    }
    let (code, list) = get(&server, "/api/v1/namespaces", Some(server.token.reveal())).await;
    assert_eq!((code, list["kind"].as_str()), (200, Some("NamespaceList")));
}
