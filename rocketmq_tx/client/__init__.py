"""A Twisted client: producer and rebalancing push consumer."""
