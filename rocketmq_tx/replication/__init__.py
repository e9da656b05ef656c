"""Copying the commit log from a master to its slaves: both ends of the stream, and their services."""
