//! Test harness: boots the engine, the shim and functions; wait_for; snapshot filters.
