//! Looks at the first bytes of a file to see whether the kernel could start it here.

use std::{io::Read, path::Path};

use fs_err as fs;

/// What a file is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A binary for this machine.
    Native,
    /// A binary for another kind of machine.
    Foreign,
    /// A script with an interpreter line.
    Script,
    /// Neither.
    Other,
}

/// Looks at a file.
pub(super) fn look(path: &Path) -> std::io::Result<Program> {
    let mut start = [0; 20];
    let mut read = 0;
    let mut file = fs::File::open(path)?;
    while read < start.len() {
        match file.read(&mut start[read..])? {
            0 => break,
            count => read += count,
        }
    }
    Ok(kind(&start[..read]))
}

fn kind(start: &[u8]) -> Program {
    if start.starts_with(b"#!") {
        return Program::Script;
    }
    if !start.starts_with(b"\x7fELF") || start.len() < 20 {
        return Program::Other;
    }
    // e_machine, in the byte order of the file.
    let machine = match start[5] {
        2 => u16::from_be_bytes([start[18], start[19]]),
        _ => u16::from_le_bytes([start[18], start[19]]),
    };
    let ours = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        _ => machine,
    };
    if machine == ours { Program::Native } else { Program::Foreign }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        assert_eq!(look(&std::env::current_exe().unwrap()).unwrap(), Program::Native);
        assert_eq!(kind(b"#!/bin/sh\n"), Program::Script);
        assert_eq!(kind(b"\x7fELF"), Program::Other);
        assert_eq!(kind(b""), Program::Other);
        let mut sparc = [0; 20];
        sparc[..6].copy_from_slice(b"\x7fELF\x02\x02");
        sparc[19] = 43;
        assert_eq!(kind(&sparc), Program::Foreign);
    }
}
