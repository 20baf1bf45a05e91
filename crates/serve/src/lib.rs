//! Accept loop, limits, drain and Unix sockets over hyper.
