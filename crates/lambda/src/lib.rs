//! Lambda words: ids, headers, deadlines, error bodies, log lines; no I/O.
