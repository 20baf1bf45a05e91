//! What only Linux tells: parents, groups and memory of processes, from `/proc`. Elsewhere the answers are empty.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Makes the kernel hand us orphaned descendants, as if we were PID 1. Where it cannot, only groups are ended.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::debug!(%error, "orphans will not be adopted");
    }
}

/// The children of `parent` that have not ended.
pub(crate) fn living_children_of(parent: u32) -> Vec<i32> {
    let parent = parent.to_string();
    let living =
        |pid: &i32| stat(*pid).is_some_and(|fields| fields[0] != "Z" && fields.get(1) == Some(&parent));
    all().filter(living).collect()
}

/// Every process that can be seen.
fn all() -> impl Iterator<Item = i32> {
    let folder = std::fs::read_dir("/proc").ok();
    folder.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields after the name: state, parent, group, session, … The name may hold spaces and parentheses.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(path(pid, "stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<String> = fields.split_ascii_whitespace().map(str::to_owned).collect();
    (!fields.is_empty()).then_some(fields)
}

/// Whether a process was started with this variable. The kernel shows what it was started with, not what it set later.
pub(crate) fn has_variable(pid: i32, name: &str, value: &str) -> bool {
    let wanted = format!("{name}={value}");
    std::fs::read(path(pid, "environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()))
}

/// The most memory a process has had, in KiB.
pub(crate) fn peak_kib(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(path(pid, "status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Children that any thread of `pid` started; cheaper than looking at every process.
pub(crate) fn direct_children(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(path(pid, "task")).ok();
    let lists = threads.into_iter().flatten().flatten().map(|thread| thread.path().join("children"));
    let texts = lists.filter_map(|list| std::fs::read_to_string(list).ok());
    texts.flat_map(|text| text.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<i32>>()).collect()
}

fn path(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// The process group.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    stat(pid)?.get(2)?.parse().ok()
}

/// Who holds the socket that is bound to `remote` and connected to `local`, seen from our end of a loopback connection.
pub(crate) fn owners_of_connection(remote: SocketAddr, local: SocketAddr) -> Vec<i32> {
    let Some(inode) = inode_of(remote, local) else { return Vec::new() };
    let wanted = format!("socket:[{inode}]");
    let holds = |pid: &i32| {
        let folder = std::fs::read_dir(path(*pid, "fd")).ok();
        folder
            .into_iter()
            .flatten()
            .flatten()
            .any(|fd| std::fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
    };
    all().filter(holds).collect()
}

/// The inode of the socket with these ends. Clients with dual-stack sockets (Java's) stand in the IPv6 table.
fn inode_of(remote: SocketAddr, local: SocketAddr) -> Option<u64> {
    let (remote, local) = (kernel_form(remote)?, kernel_form(local)?);
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let ends = fields.next()?.ends_with(&remote) && fields.next()?.ends_with(&local);
            if ends { fields.nth(6)?.parse().ok() } else { None }
        })
    })
}

/// `0100007F:1F90`: the address as one number in the machine's byte order, and the port.
fn kernel_form(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(v4) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_connection_is_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, remote) = listener.accept().unwrap();
        let owners = owners_of_connection(remote, client.peer_addr().unwrap());
        assert!(owners.contains(&i32::try_from(std::process::id()).unwrap()), "{owners:?}");
    }
}
