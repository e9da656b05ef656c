"""The twistd commands of this package: `twistd rocketmq-namesrv` and `twistd rocketmq-broker`."""

from twisted.application.service import ServiceMaker

namesrv = ServiceMaker(
    "RocketMQ NameServer",
    "rocketmq_tx.cli.namesrv_maker",
    "A RocketMQ 4.x NameServer: brokers register routes, clients look them up.",
    "rocketmq-namesrv",
)

broker = ServiceMaker(
    "RocketMQ broker",
    "rocketmq_tx.cli.broker_maker",
    "A RocketMQ 4.x broker: accepts, stores and delivers messages.",
    "rocketmq-broker",
)
