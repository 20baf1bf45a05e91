use super::*;
use crate::autoscaler::policy::Metric;

fn gate() -> (Arc<Gate>, mpsc::Receiver<RevisionRef>) {
    let (wishes, receiver) = mpsc::channel(8);
    let revision = RevisionRef { namespace: "default".into(), name: "a-00001".into() };
    (Arc::new(Gate::new(revision, wishes)), receiver)
}

/// The gate of a Revision that was ready, with pods that listen at these ports.
fn ready(policy: Policy, ports: &[u16]) -> (Arc<Gate>, mpsc::Receiver<RevisionRef>) {
    let (gate, wishes) = gate();
    gate.set_endpoints(ports.iter().copied().map(pod));
    gate.configure(policy, true);
    (gate, wishes)
}

/// A request that may have to wait.
fn entering(gate: &Arc<Gate>) -> tokio::task::JoinHandle<Result<Permit, EnterError>> {
    let gate = Arc::clone(gate);
    tokio::spawn(async move { gate.enter().await })
}

fn pod(number: u16) -> (String, SocketAddr) {
    (format!("pod{number}"), SocketAddr::from(([127, 0, 0, 1], number)))
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_first_pod_and_asks_for_it() {
    let (gate, mut wishes) = ready(Policy::default(), &[]);
    let waiting = entering(&gate);
    wishes.recv().await.expect("a pod is asked for");
    assert_eq!(gate.desired(), 1);
    gate.set_endpoints([pod(7)]);
    let permit = waiting.await.expect("it ran").expect("it got in");
    assert_eq!(permit.address().port(), 7);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let (gate, _wishes) = ready(Policy { timeout: Duration::from_secs(3), ..Policy::default() }, &[]);
    let error = gate.enter().await.expect_err("there is no pod");
    assert_eq!(error, EnterError::TimedOut(Duration::from_secs(3)));
    assert_eq!(gate.state().load.inside(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_leaves_the_queue() {
    let (gate, _wishes) = ready(Policy::default(), &[]);
    let waiting = tokio::time::timeout(Duration::from_secs(1), gate.enter());
    assert!(waiting.await.is_err());
    assert_eq!((gate.waiting.load(Ordering::Relaxed), gate.state().load.inside()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_got_in_keeps_no_gate_alive() {
    let (gate, _wishes) = ready(Policy::default(), &[7]);
    drop(gate.enter().await.expect("there is room"));
    assert_eq!(Arc::strong_count(&gate), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_refused_once_is_tried_again() {
    let (gate, _wishes) = ready(Policy::default(), &[7]);
    gate.enter().await.expect("there is room").condemn();
    assert!(gate.try_pick().is_none());
    gate.tick();
    assert!(gate.try_pick().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_failure_answers_those_who_wait() {
    let (gate, mut wishes) = ready(Policy::default(), &[]);
    let waiting = entering(&gate);
    wishes.recv().await.expect("a pod is asked for");
    gate.fail(Some("no image".into()));
    let error = waiting.await.expect("it ran").expect_err("it failed");
    assert_eq!(error, EnterError::Failed("no image".into()));
}

#[tokio::test(start_paused = true)]
async fn one_request_a_pod_and_the_next_when_it_left() {
    let (gate, _wishes) = ready(Policy { concurrency: 1, ..Policy::default() }, &[1]);
    let first = gate.enter().await.expect("there is room");
    let second = entering(&gate);
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(first);
    let permit = second.await.expect("it ran").expect("it got in");
    assert_eq!(permit.address().port(), 1);
}

#[tokio::test(start_paused = true)]
async fn idle_for_a_window_means_zero() {
    let (gate, _wishes) = ready(Policy::default(), &[1]);
    drop(gate.enter().await.expect("there is room"));
    for _ in 0..59 {
        tokio::time::advance(Duration::from_secs(1)).await;
        gate.tick();
    }
    assert_eq!(gate.desired(), 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.tick();
    assert_eq!(gate.desired(), 0);
}

#[tokio::test(start_paused = true)]
async fn fewer_pods_wait_for_the_delay() {
    let (gate, _wishes) = gate();
    let delay = Duration::from_secs(30);
    gate.configure(Policy { concurrency: 1, target: 1.0, delay, ..Policy::default() }, true);
    gate.set_endpoints([pod(1), pod(2), pod(3)]);
    let inside = [gate.enter().await, gate.enter().await, gate.enter().await];
    let after = async |seconds| {
        for _ in 0..seconds {
            tokio::time::advance(Duration::from_secs(1)).await;
            gate.tick();
        }
        gate.desired()
    };
    assert_eq!(after(1).await, 3);
    drop(inside);
    assert_eq!(after(29).await, 3, "two are enough since the second second, one since the third");
    assert_eq!(after(2).await, 1);
    assert_eq!(after(57).await, 1, "none is needed since the 61st second");
    assert_eq!(after(1).await, 0);
}

#[tokio::test(start_paused = true)]
async fn many_short_requests_count_by_the_second() {
    let (gate, _wishes) = ready(Policy { metric: Metric::Rps, target: 10.0, ..Policy::default() }, &[1]);
    for _ in 0..60 {
        drop(gate.enter().await.expect("there is room"));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.tick();
    assert_eq!(gate.desired(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_ready_revision_without_requests_starts_nothing() {
    let (gate, _wishes) = ready(Policy::default(), &[]);
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.tick();
    assert_eq!(gate.desired(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_rise_brings_pods_within_the_limit() {
    let (gate, _wishes) = ready(Policy { concurrency: 1, target: 0.7, max: 3, ..Policy::default() }, &[1]);
    let _inside = gate.enter().await.expect("there is room");
    for _ in 0..5 {
        gate.state().load.enter();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    gate.tick();
    assert_eq!(gate.desired(), 3);
}
