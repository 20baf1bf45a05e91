//! The one static binary inside build pods: receive, unpack, assemble.
