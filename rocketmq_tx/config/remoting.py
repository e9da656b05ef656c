"""Keys of listening and of calling other processes.

Names, defaults and meanings: `spec/config.yaml`, sections netty_server_config, netty_client_config and
system_properties_remoting (Apache's classes NettyServerConfig, NettyClientConfig).
"""

from __future__ import annotations

from rocketmq_tx.config.broker_idle import NO_POOLS
from rocketmq_tx.config.keys import LIVE, OURS, PROPERTY, Keys, key, settings
from rocketmq_tx.config.tls import USE_A_PROXY
from rocketmq_tx.config.values import Host, SerializeType

NO_SEMAPHORES = "calls in flight are bounded by memory, not by number"
NO_NETTY = "it chooses between parts of Netty, which is not used here"


@settings
class NettyServerConfig(Keys):
    """Settings of a listening port, of a broker or of a NameServer."""

    listen_port: int = key(
        "listenPort",
        8888,
        "Port to listen on; 0 takes a free one. The VIP port is listenPort - 2.",
        low=0,
        high=65535,
        important=False,
        default_text="10911 for a broker, 9876 for a NameServer",
    )
    server_worker_threads: int = key(
        "serverWorkerThreads", 8, "Threads that decode and encode.", no_effect=NO_POOLS
    )
    server_callback_executor_threads: int = key(
        "serverCallbackExecutorThreads", 0, "Threads for callbacks.", no_effect=NO_POOLS
    )
    server_selector_threads: int = key(
        "serverSelectorThreads", 3, "Threads that read and write sockets.", no_effect=NO_POOLS
    )
    server_oneway_semaphore_value: int = key(
        "serverOnewaySemaphoreValue", 256, "One-way requests in flight.", no_effect=NO_SEMAPHORES
    )
    server_async_semaphore_value: int = key(
        "serverAsyncSemaphoreValue", 64, "Requests to clients in flight.", no_effect=NO_SEMAPHORES
    )
    server_channel_max_idle_time_seconds: int = key(
        "serverChannelMaxIdleTimeSeconds",
        120,
        "Close a connection on which nothing happened for so long; 0 never.",
        unit="s",
    )
    server_socket_snd_buf_size: int = key(
        "serverSocketSndBufSize",
        0,
        "Send buffer of a socket; 0 leaves it to the system.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.socket.sndbuf.size",),
    )
    server_socket_rcv_buf_size: int = key(
        "serverSocketRcvBufSize",
        0,
        "Receive buffer of a socket; 0 leaves it to the system.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.socket.rcvbuf.size",),
    )
    write_buffer_high_water_mark: int = key(
        "writeBufferHighWaterMark",
        0,
        "Stop reading from a peer with so much unsent; 0 takes our own limit.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.write.buffer.high.water.mark",),
    )
    write_buffer_low_water_mark: int = key(
        "writeBufferLowWaterMark",
        0,
        "Read from it again when no more than this is left; 0 takes our own limit.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.write.buffer.low.water.mark",),
    )
    server_socket_backlog: int = key(
        "serverSocketBacklog",
        1024,
        "Connections that may wait to be accepted.",
        low=1,
        aliases=("com.rocketmq.remoting.socket.backlog",),
    )
    server_pooled_byte_buf_allocator_enable: bool = key(
        "serverPooledByteBufAllocatorEnable",
        True,
        "Pooled buffers.",
        no_effect=NO_NETTY,
        aliases=("com.rocketmq.remoting.nettyPooledByteBufAllocatorEnable",),
    )
    use_epoll_native_selector: bool = key(
        "useEpollNativeSelector", False, "Netty's own epoll.", no_effect=NO_NETTY
    )
    frame_max_length: int = key(
        "com.rocketmq.remoting.frameMaxLength",
        16777216,
        "A longer frame closes its connection.",
        low=1024,
        high=1 << 30,
        unit="bytes",
        origin=PROPERTY,
        aliases=("frameMaxLength",),
    )
    bind_address: str = key(
        "bindAddress",
        "0.0.0.0",
        "Where to listen: 0.0.0.0 is all of IPv4, [::] all of IPv6 and IPv4, 127.0.0.1 only this machine.",
        type=Host(),
        origin=OURS,
    )
    max_unanswered_bytes: int = key(
        "maxUnansweredBytes",
        128 << 20,
        "Requests read but not yet answered, of all connections; above it reading from producers pauses.",
        long=True,
        low=1 << 20,
        unit="bytes",
        runtime=LIVE,
        origin=OURS,
    )
    max_unsent_bytes: int = key(
        "maxUnsentBytes",
        256 << 20,
        "Answers that peers have not read, of all connections; above it who reads slowly is not read from.",
        long=True,
        low=1 << 20,
        unit="bytes",
        runtime=LIVE,
        origin=OURS,
    )
    max_unsent_bytes_per_connection: int = key(
        "maxUnsentBytesPerConnection",
        64 << 20,
        "A peer that leaves so much of its answers unread is disconnected.",
        long=True,
        low=1 << 20,
        unit="bytes",
        runtime=LIVE,
        origin=OURS,
    )


@settings
class NettyClientConfig(Keys):
    """Settings of calls to other processes: a broker's to its NameServers and to its master."""

    client_worker_threads: int = key(
        "clientWorkerThreads",
        4,
        "Threads that handle answers.",
        no_effect=NO_POOLS,
        aliases=("com.rocketmq.remoting.client.worker.size",),
    )
    client_callback_executor_threads: int = key(
        "clientCallbackExecutorThreads",
        2,
        "Threads for callbacks.",
        no_effect=NO_POOLS,
        from_host=lambda facts: facts.cpu_count,
        default_text="CPUs",
    )
    client_oneway_semaphore_value: int = key(
        "clientOnewaySemaphoreValue",
        65535,
        "One-way requests in flight.",
        no_effect=NO_SEMAPHORES,
        aliases=("com.rocketmq.remoting.clientOnewaySemaphoreValue",),
    )
    client_async_semaphore_value: int = key(
        "clientAsyncSemaphoreValue",
        65535,
        "Requests in flight.",
        no_effect=NO_SEMAPHORES,
        aliases=("com.rocketmq.remoting.clientAsyncSemaphoreValue",),
    )
    connect_timeout_millis: int = key(
        "connectTimeoutMillis",
        3000,
        "How long to wait for a connection.",
        unit="ms",
        low=1,
        aliases=("com.rocketmq.remoting.client.connect.timeout",),
    )
    channel_not_active_interval: int = key(
        "channelNotActiveInterval",
        60000,
        "Unused.",
        long=True,
        unit="ms",
        no_effect="Apache 4.9.7 does not use it either",
    )
    client_channel_max_idle_time_seconds: int = key(
        "clientChannelMaxIdleTimeSeconds",
        120,
        "Close a connection on which nothing happened for so long; 0 never.",
        unit="s",
        aliases=("com.rocketmq.remoting.client.channel.maxIdleTimeSeconds",),
    )
    client_socket_snd_buf_size: int = key(
        "clientSocketSndBufSize",
        0,
        "Send buffer of a socket; 0 leaves it to the system.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.socket.sndbuf.size",),
    )
    client_socket_rcv_buf_size: int = key(
        "clientSocketRcvBufSize",
        0,
        "Receive buffer of a socket; 0 leaves it to the system.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.socket.rcvbuf.size",),
    )
    client_pooled_byte_buf_allocator_enable: bool = key(
        "clientPooledByteBufAllocatorEnable", False, "Pooled buffers.", no_effect=NO_NETTY
    )
    client_close_socket_if_timeout: bool = key(
        "clientCloseSocketIfTimeout",
        True,
        "Close a connection on which a call was not answered in time.",
        runtime=LIVE,
        aliases=("com.rocketmq.remoting.client.closeSocketIfTimeout",),
    )
    use_tls: bool = key(
        "useTLS", False, "Call other processes over TLS.", refused=USE_A_PROXY, aliases=("tls.enable",)
    )
    write_buffer_high_water_mark: int = key(
        "writeBufferHighWaterMark",
        0,
        "As for the listening port.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.write.buffer.high.water.mark",),
    )
    write_buffer_low_water_mark: int = key(
        "writeBufferLowWaterMark",
        0,
        "As for the listening port.",
        unit="bytes",
        aliases=("com.rocketmq.remoting.write.buffer.low.water.mark",),
    )
    serialize_type: SerializeType = key(
        "rocketmq.serialize.type",
        SerializeType.JSON,
        "How the headers of our own requests are written; answers follow the request.",
        origin=PROPERTY,
        default_text="ROCKETMQ_SERIALIZE_TYPE, else JSON",
    )
