//! A port for a container, which binds it a moment later.
//!
//! What the kernel hands out for port 0 is of the range that it also takes for connections, so that anybody's next connection could
//! have it first. Ports below that range are taken by those only who ask for them.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use uuid::Uuid;

/// Where ports are looked for: above those of well-known services, below Linux's `ip_local_port_range` (from 32768 on) and the
/// range of Kubernetes' node ports.
const RANGE: Range<u16> = 20_000..30_000;
/// Ports that are tried before the kernel is asked.
const TRIES: u32 = 100;

/// A port of the loopback that nobody listens on now.
///
/// # Errors
/// When not even the kernel has one.
pub(super) fn free() -> io::Result<u16> {
    match (0..TRIES).map(|_| any()).find(|port| listen(*port).is_ok()) {
        Some(port) => Ok(port),
        None => Ok(listen(0)?.local_addr()?.port()),
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Any of them: engines that begin at one time shall not go through them in one order.
fn any() -> u16 {
    let [high, low, ..] = Uuid::new_v4().into_bytes();
    let count = u32::from(RANGE.end - RANGE.start);
    let offset = u32::from(u16::from_be_bytes([high, low])) % count;
    RANGE.start + u16::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_not_those_of_connections() {
        let held: Vec<_> =
            (0..50).map(|_| listen(free().expect("there is one")).expect("it is free")).collect();
        for listener in &held {
            let port = listener.local_addr().expect("it has one").port();
            assert!(RANGE.contains(&port), "{port}");
        }
    }
}
