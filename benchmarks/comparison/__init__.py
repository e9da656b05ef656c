"""Side by side with Apache RocketMQ 4.9.7: the same load on both, in turn, in the same run."""
