"""Command headers: one attrs class per request or response header of RocketMQ 4.9.7."""
