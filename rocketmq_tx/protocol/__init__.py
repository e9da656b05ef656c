"""The wire and the bytes of RocketMQ 4.x as pure values: frames, headers, bodies, message records."""
