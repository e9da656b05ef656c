"""The frame protocol over a transport: connections, request and response matching, handler registry."""
