"""Request and response bodies of RocketMQ 4.9.7 as attrs types."""
