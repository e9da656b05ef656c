"""Keys of TLS, which is not spoken: a file that asks for it must not pass for one that is heeded.

Names and meanings: `spec/config.yaml`, section tls (Apache's class TlsSystemConfig).
"""

from __future__ import annotations

from rocketmq_tx.config.keys import PROPERTY, Keys, key, settings
from rocketmq_tx.config.values import TlsMode

NO_TLS = "this version speaks no TLS"
USE_A_PROXY = f"{NO_TLS} and would talk in the clear; remove the key and put a TLS proxy in front"


@settings
class TlsConfig(Keys):
    """Settings of TLS. Apache takes them from system properties and from a file of their own."""

    mode: TlsMode = key(
        "tls.server.mode",
        TlsMode.PERMISSIVE,
        "disabled refuses TLS, permissive takes both, enforcing refuses plain connections.",
        origin=PROPERTY,
    )
    config_file: str = key(
        "tls.config.file",
        "/etc/rocketmq/tls.properties",
        "File with the keys below.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    test_mode_enable: bool = key(
        "tls.test.mode.enable",
        True,
        "Certificate made at start, everybody trusted.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    server_need_client_auth: str = key(
        "tls.server.need.client.auth",
        "none",
        "Whether clients need certificates: none, optional or require.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    server_key_path: str | None = key(
        "tls.server.keyPath", None, "Private key, PEM.", origin=PROPERTY, no_effect=NO_TLS
    )
    server_key_password: str | None = key(
        "tls.server.keyPassword",
        None,
        "Password of the private key.",
        origin=PROPERTY,
        no_effect=NO_TLS,
        secret=True,
    )
    server_cert_path: str | None = key(
        "tls.server.certPath", None, "Certificate chain, PEM.", origin=PROPERTY, no_effect=NO_TLS
    )
    server_auth_client: bool = key(
        "tls.server.authClient", False, "Check certificates of clients.", origin=PROPERTY, no_effect=NO_TLS
    )
    server_trust_cert_path: str | None = key(
        "tls.server.trustCertPath",
        None,
        "Authorities trusted for clients, PEM.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    client_key_path: str | None = key(
        "tls.client.keyPath",
        None,
        "Private key of outgoing connections, PEM.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    client_key_password: str | None = key(
        "tls.client.keyPassword",
        None,
        "Password of that key.",
        origin=PROPERTY,
        no_effect=NO_TLS,
        secret=True,
    )
    client_cert_path: str | None = key(
        "tls.client.certPath",
        None,
        "Certificate of outgoing connections, PEM.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
    client_auth_server: bool = key(
        "tls.client.authServer", False, "Check certificates of servers.", origin=PROPERTY, no_effect=NO_TLS
    )
    client_trust_cert_path: str | None = key(
        "tls.client.trustCertPath",
        None,
        "Authorities trusted for servers, PEM.",
        origin=PROPERTY,
        no_effect=NO_TLS,
    )
