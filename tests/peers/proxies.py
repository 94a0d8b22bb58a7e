"""nginx and Envoy as real HTTP/2 proxies with mutual TLS in front of a receiver, on loopback.

Each checks the gateway's certificate itself and passes it on in a header; to the receiver it shows
its own certificate, whose common name is PROXY_NAME.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.world import PATIENCE_S, free_port, listens
from tests.fakes.certificates import Authority

PROXY_NAME = "proxy-1"
ENVOY = Path(__file__).resolve().parents[2] / ".cache/envoy/bin/envoy"

_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_client_certificate {ca}; ssl_verify_client on;
        client_max_body_size 0;
        location / {{
            grpc_pass grpcs://127.0.0.1:{behind};
            grpc_ssl_certificate {certificate}; grpc_ssl_certificate_key {key};
            grpc_ssl_trusted_certificate {ca}; grpc_ssl_verify on; grpc_ssl_name localhost;
            grpc_set_header x-client-cert $ssl_client_escaped_cert;
            grpc_set_header x-forwarded-client-cert "";
            grpc_read_timeout 300s; grpc_send_timeout 300s; client_body_timeout 300s;
        }}
    }}
}}
"""

_ENVOY = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
layered_runtime: {{layers: [{{name: admin, admin_layer: {{}}}}]}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates: [{{certificate_chain: {{filename: {certificate}}}, private_key: {{filename: {key}}}}}]
            validation_context: {{trusted_ca: {{filename: {ca}}}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: uplink
          codec_type: HTTP2
          stream_idle_timeout: 300s
          forward_client_cert_details: SANITIZE_SET
          set_current_client_cert_details: {{uri: true, cert: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: receiver, timeout: 0s}}}}]
          http_filters:
          - name: fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              abort: {{http_status: 503, percentage: {{numerator: 0}}}}
              delay: {{fixed_delay: 0.3s, percentage: {{numerator: 0}}}}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: receiver
    type: STATIC
    connect_timeout: 30s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: receiver
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {behind}}}}}}}}}]}}]
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context:
          tls_certificates: [{{certificate_chain: {{filename: {certificate}}}, private_key: {{filename: {key}}}}}]
          validation_context: {{trusted_ca: {{filename: {ca}}}}}
"""  # noqa: E501 - Envoy's type names are as long as that


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs: where gateways connect, and (Envoy) its admin port."""

    target: str
    admin: int = 0

    def fault(self, **percent: int) -> None:
        """Set percentages of Envoy's fault filter: abort_percent, fixed_delay_percent."""
        for name, value in percent.items():
            kind = "abort" if name.startswith("abort") else "delay"
            url = f"http://127.0.0.1:{self.admin}/runtime_modify?fault.http.{kind}.{name}={value}"
            urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60).read()


def require(kind: str) -> str:
    """Program of nginx or envoy; skips, or fails where CI=true, where it is missing."""
    program = shutil.which("nginx") if kind == "nginx" else str(ENVOY) * ENVOY.exists()
    if not program:
        message = f"{kind} is missing; tests/peers/install_proxies.sh installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program


@contextmanager
def proxy(kind: str, folder: Path, authority: Authority, behind: int) -> Iterator[Proxy]:
    """Run nginx or envoy before the receiver on port `behind`; `require` it first."""
    program = require(kind)
    pair = authority.issue(PROXY_NAME)
    folder.mkdir()
    port, admin = free_port(), free_port()
    config = folder / ("nginx.conf" if kind == "nginx" else "envoy.yaml")
    config.write_text(
        (_NGINX if kind == "nginx" else _ENVOY).format(
            folder=folder, port=port, admin=admin, behind=behind, ca=authority.ca,
            certificate=pair.certificate, key=pair.key,
        ),
        encoding="ascii",
    )  # fmt: skip
    command = (
        [program, "-p", str(folder), "-c", str(config)]
        if kind == "nginx"
        else [
            program,
            "-c",
            str(config),
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "-l",
            "warn",
        ]
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ})
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not listens(port):
            code, said = process.poll(), (folder / "log").read_text(errors="replace")[-3000:]
            assert code is None, f"{kind} ended with exit code {code}: {said}"
            assert time.monotonic() < deadline, f"{kind} does not listen: {said}"
            time.sleep(0.05)
        yield Proxy(f"127.0.0.1:{port}", admin)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
