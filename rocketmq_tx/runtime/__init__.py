"""Small Twisted primitives the roles are built of: watermarks, arrivals, periodic work, ordered services."""
