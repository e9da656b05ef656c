"""The broker: accepts, stores and delivers messages."""
