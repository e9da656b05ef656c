"""A RocketMQ 4.x message broker, NameServer and client on Twisted."""

__version__ = "0.1.0"
