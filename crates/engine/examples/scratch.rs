//! scratch
use tm_engine::{api::*, kubeconfig};
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = std::path::PathBuf::from("/tmp/gen/state");
    let t = std::time::Instant::now();
    let api = Api::open(Options { state_dir: dir.clone() }).await?;
    eprintln!("open {:?}", t.elapsed());
    let id = tls::Identity::load_or_make(&dir)?;
    let token = auth::Token::load_or_make(&dir)?;
    let l = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = l.local_addr()?;
    kubeconfig::install(
        std::path::Path::new("/tmp/gen/kubeconfig"),
        &kubeconfig::Entry {
            server: format!("https://{addr}"),
            authority: id.authority().into(),
            token: token.clone(),
        },
    )?;
    let router = api.router_with_token(User("me".into()), token);
    let stop = tokio_util::sync::CancellationToken::new();
    eprintln!("ready {:?}", t.elapsed());
    let svc = move |_: &tm_serve::Peer| hyper_util::service::TowerToHyperService::new(router.clone());
    tm_serve::serve(
        tls::TlsListener::new(l.into(), id.server_config()?),
        svc,
        tm_serve::Options::default(),
        stop,
    )
    .await;
    Ok(())
}
