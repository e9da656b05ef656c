"""Keys of the NameServer itself.

Names, defaults and meanings: `spec/config.yaml`, section namesrv_config (Apache's class NamesrvConfig).
"""

from __future__ import annotations

import os

from rocketmq_tx.config.keys import LIVE, Keys, key, settings


@settings
class NamesrvConfig(Keys):
    """Settings of a NameServer."""

    rocketmq_home: str | None = key(
        "rocketmqHome", None, "Folder of an installation; not needed to run.", default_text="ROCKETMQ_HOME"
    )
    kv_config_path: str = key(
        "kvConfigPath",
        "namesrv/kvConfig.json",
        "File of the key-value configuration.",
        important=True,
        from_host=lambda facts: os.path.join(facts.home, "namesrv", "kvConfig.json"),
        default_text="~/namesrv/kvConfig.json",
    )
    config_store_path: str = key(
        "configStorePath",
        "namesrv/namesrv.properties",
        "File that changes at run time are written to.",
        important=True,
        from_host=lambda facts: os.path.join(facts.home, "namesrv", "namesrv.properties"),
        default_text="the file given with -c, else ~/namesrv/namesrv.properties",
    )
    product_env_name: str = key(
        "productEnvName",
        "center",
        "Environment that unknown topics are looked up in.",
        no_effect="cluster test mode needs an address server of another environment, which is not built",
    )
    cluster_test: bool = key(
        "clusterTest",
        False,
        "Look up unknown topics in another environment.",
        no_effect="cluster test mode needs an address server of another environment, which is not built",
    )
    order_message_enable: bool = key(
        "orderMessageEnable",
        False,
        "Put the order configuration of a topic into its routes.",
        important=True,
        runtime=LIVE,
    )
