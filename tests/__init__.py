"""The test suite: `unit` without sockets, `integration` on real sockets, `interop` with foreign clients."""
