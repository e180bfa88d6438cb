"""The settings of a process, read once from ``ORRIS_*`` variables and flags, and frozen.

A flag wins over its variable. An unknown or malformed variable stops the process: a typo must not silently mean the
default. ``docs/settings.md`` documents every field; a test holds it complete.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from orris.errors import SettingsError

PREFIX = "ORRIS_"
DEFAULT_STORE = "./artifacts"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Positive | Literal["auto"]
Route = Annotated[str, msgspec.Meta(pattern=r"^(/[^\s?#]*)?$")]
Switch = Literal["auto", "on", "off"]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a process.

    Attributes:
        store: URL of the model store: a directory, ``gs://``, ``s3://`` or ``az://``.
        host: Address that the server listens on.
        port: Port that the server listens on; 0 takes a free one.
        grpc_port: Port that the server listens on for gRPC; ``auto``: 8001, if it is free; ``off``: none.
        uds: Unix socket that the server listens on, instead of host and port; empty: none.
        workers: Processes that answer; ``auto``: one for each processor that the container may use.
        threads: Threads for one call of the model; ``auto``: the processors, divided by the workers.
        watch_seconds: How often the references of the served models are followed anew; 0: only when asked to.
        shadow: Version that is asked a copy of the requests, ``NAME@VERSION``; empty: none.
        shadow_share: Share of the requests that is copied.
        split: Version that a share of the requests goes to, ``NAME@VERSION=SHARE``; empty: none.
        split_header: Header whose equal values go to the same version; empty: by chance.
        drain_seconds: While stopping, requests are still accepted for so long after the server has become unready.
        shutdown_seconds: While stopping, what is in flight is given so long.
        call_seconds: A process in which one call of the model takes longer ends, and is replaced.
        start_trial: A child process loads the models before a server does at its start (Linux).
        hang_seconds: A worker whose loop has not turned for so long is killed and replaced.
        tls_cert: Certificate chain (PEM); empty: no TLS.
        tls_key: Its private key (PEM); empty: it is in ``tls_cert``.
        root_path: Path that a proxy takes off before requests come here.
        forwarded_allow_ips: Proxies whose ``X-Forwarded-*`` headers are believed, with commas; ``*``: all; empty: none.
        max_body_bytes: Longest request body; a longer one is answered with 413.
        max_receiving_bytes: Most bytes of request bodies that a process receives and holds at once; beyond it requests
            are refused with 503.
        max_rows: Most rows that one request may hold.
        max_header_bytes: Most bytes of a request line with its headers; more are answered with 431.
        max_in_flight: Requests answered at once; more are refused with 503 and ``Retry-After`` rather than queued.
        max_queue_seconds: Longest time that requests wait before the model is called, while the queue does not empty;
            others are refused with 503 and ``Retry-After``. 0: any time.
        request_seconds: Longest time from a request's first byte to its last; a slower client is cut off.
        keep_alive_seconds: A connection that brings no further request for so long is closed.
        access_log: Whether a line per request goes to standard output.
        log_level: Least level of what is logged: ``debug``, ``info``, ``warning`` or ``error``.
        log_format: ``json``, ``gcp`` (JSON with Google Cloud's fields) or ``console`` (for people).
        log_sample: Share of the successful requests that is logged; those with unusual input values always are.
        log_values: Whether lines hold the input values of requests.
        log_redact: Columns whose values are replaced in the log, with commas; a name that holds a comma stands in
            double quotes, as in CSV.
        log_project: Google Cloud project of the traces that ``gcp`` names; empty: ``GOOGLE_CLOUD_PROJECT``.
        api_keys_file: File of API keys (TOML, hashes); empty: predictions need no key.
        admin_token_sha256: Hash of the administrator's token; empty: see the next.
        admin_token_file: File that holds the administrator's token; empty: load, unload and reload are off.
        jwt_jwks: File or ``https`` URL of the public keys that JSON Web Tokens are signed with; empty: no tokens are
            taken.
        jwt_issuer: What ``iss`` of a token has to be.
        jwt_audience: What ``aud`` of a token has to be; several, with commas: one of them.
        jwt_algorithms: Algorithms that a token may be signed with, with commas.
        jwt_leeway_seconds: How far the clocks of this server and of the issuer may be apart.
        jwt_refresh_seconds: Time between two fetches of a JWKS from a URL.
        rate_limit: Requests per second of each caller whose key says nothing else; 0: unlimited.
        rate_burst: Requests at once of each such caller; 0: one second's worth.
        metrics_auth: Whether metrics need a credential.
        openapi_auth: Whether the OpenAPI document needs a credential where predictions do.
        docs: Whether there are documentation pages and an OpenAPI document.
        cors_origins: Origins whose pages may call this server from a browser, with commas; empty: none.
        model: What is served when no model is named: as on the command line; empty: the store's only model.
        predict route: Further path that answers ``instances``, which a platform names; empty: none.
        health_route: Further path that tells whether the server is ready, which a platform names; empty: none.
        tracing: Whether spans of requests are recorded, as the ``OTEL_*`` variables say; ``auto``: if one of these
            names where to.
        drift_window_seconds: Length of the window for which drift is reported; 0: drift is not measured.
        verify_key: Public key (PEM) that a bundle's signature must verify with before it is loaded; empty: signatures
            are not asked for.
        minimum_version: Lowest version that is loaded, of every model, or ``NAME=VERSION`` with commas; empty: any.
    """

    store: str = DEFAULT_STORE
    host: str = "127.0.0.1"
    port: Port = 8000
    grpc_port: Port | Literal["auto", "off"] = "auto"
    uds: str = ""
    workers: Count = 1
    threads: Count = 1
    watch_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    shadow: str = ""
    shadow_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    split: str = ""
    split_header: str = ""
    drain_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 0.0
    shutdown_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 30.0
    call_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0
    start_trial: bool = True
    hang_seconds: Annotated[float, msgspec.Meta(ge=1)] = 10.0
    tls_cert: str = ""
    tls_key: str = ""
    root_path: Annotated[str, msgspec.Meta(pattern="^(/[^/?#]+)*$")] = ""
    forwarded_allow_ips: str = ""
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_receiving_bytes: Positive = 256 * 1024 * 1024
    max_rows: Positive = 100_000
    max_header_bytes: Positive = 32 * 1024
    max_in_flight: Positive = 4_096
    max_queue_seconds: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 1.0
    request_seconds: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    keep_alive_seconds: Annotated[float, msgspec.Meta(gt=0)] = 75.0
    access_log: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "gcp", "console"] = "json"
    log_sample: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    log_values: bool = False
    log_redact: str = ""
    log_project: str = ""
    api_keys_file: str = ""
    admin_token_sha256: str = ""
    admin_token_file: str = ""
    jwt_jwks: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_algorithms: str = "RS256,ES256,EdDSA"
    jwt_leeway_seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 10.0
    jwt_refresh_seconds: Annotated[float, msgspec.Meta(ge=1)] = 300.0
    rate_limit: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 0.0
    rate_burst: Annotated[int, msgspec.Meta(ge=0)] = 0
    metrics_auth: bool = False
    openapi_auth: bool = True
    docs: bool = True
    cors_origins: str = ""
    model: str = ""
    predict_route: Route = ""
    health_route: Route = ""
    tracing: Switch = "auto"
    drift_window_seconds: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 3_600.0
    verify_key: str = ""
    minimum_version: str = ""


def read_settings(environ: Mapping[str, str], **flags: Any) -> Settings:
    """Settings from ``ORRIS_*`` variables of ``environ`` and from flags; a flag that is ``None`` was not given.

    Raises:
        SettingsError: An unknown or malformed variable or flag; names it, and what it may be.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = (
                f"; did you mean {PREFIX}{near[0].upper()}?"
                if near
                else f"; known are {', '.join(PREFIX + n.upper() for n in fields)}"
            )
            raise SettingsError(f"unknown setting {variable}{hint}")
        values[name] = _convert(variable, text, fields[name].type)
    for name, value in flags.items():
        if name not in fields:
            raise SettingsError(f"unknown setting {name}; known are {', '.join(fields)}")
        if value is not None:
            values[name] = _convert(f"--{name.replace('_', '-')}", value, fields[name].type)
    return Settings(**values)


def _convert(key: str, value: Any, wanted: Any) -> Any:
    if wanted is bool and isinstance(value, str):
        value = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }.get(value.lower(), value)
    elif wanted == Switch:
        value = {"1": "on", "true": "on", "yes": "on", "0": "off", "false": "off", "no": "off"}.get(
            value.lower(), value.lower()
        )
    try:
        return msgspec.convert(value, wanted, strict=isinstance(value, bool))
    except msgspec.ValidationError as error:
        raise SettingsError(f"{key}={value}: {error}") from None
