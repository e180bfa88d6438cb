"""An issuer of JSON Web Tokens: keys of every kind, and an HTTP server for its JWKS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER = "https://issuer.example"
AUDIENCE = "orris"
_JWK: dict[str, Any] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


@dataclass
class Issuer:
    """Private keys by id, and what it publishes of them.

    Attributes:
        keys: ``kid`` -> (algorithm, private key).
        published: The document that its URL answers with.
        status: The status that it answers with.
        n_fetches: How often it was asked.
        url: Where the document is.
    """

    keys: dict[str, tuple[str, Any]] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    n_fetches: int = 0
    url: str = ""

    def publish(self, *kids: str) -> None:
        """Publish the public halves of these keys, making those that are not there: ``rsa…``, ``ec…``, ``ed…``."""
        for kid in kids:
            if kid not in self.keys:
                self.keys[kid] = _private(kid)
        self.published = {"keys": [json.loads(self.public(kid)) | {"kid": kid, "use": "sig"} for kid in kids]}

    def public(self, kid: str) -> str:
        """Return the public half of a key as a JWK."""
        algorithm, key = self.keys[kid]
        return str(_JWK[algorithm].to_jwk(key.public_key()))

    def token(self, kid: str = "rsa", **claims: Any) -> str:
        """Return a token that is valid for an hour; a claim that is ``None`` is left out."""
        given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": int(time.time()) + 3600} | claims
        algorithm, key = self.keys[kid]
        return jwt.encode(
            {k: v for k, v in given.items() if v is not None}, key, algorithm=algorithm, headers={"kid": kid}
        )


def _private(kid: str) -> tuple[str, Any]:
    if kid.startswith("rsa"):
        return "RS256", rsa.generate_private_key(65_537, 2_048)
    if kid.startswith("ec"):
        return "ES256", ec.generate_private_key(ec.SECP256R1())
    return "EdDSA", ed25519.Ed25519PrivateKey.generate()


@contextmanager
def issuing(*kids: str) -> Iterator[Issuer]:
    """Run an issuer that publishes these keys on a local URL."""
    issuer = Issuer()
    issuer.publish(*kids)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the published document."""
            issuer.n_fetches += 1
            body = json.dumps(issuer.published).encode()
            self.send_response(issuer.status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        issuer.url = f"http://127.0.0.1:{listening.server_port}/jwks.json"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield issuer
        finally:
            listening.shutdown()
            thread.join()
