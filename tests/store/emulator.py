"""Run as ``emulator.py gs|gs-unconditional|s3``: a bucket service on a free port, printed as a URL.

Ends when its standard input does.

gcp-storage-emulator ignores ``ifGenerationMatch``, which Google Cloud Storage honours, so ``gs`` adds that one rule to
it; the emulator as it comes is ``gs-unconditional``. Both services answer one request at a time, which makes
check-then-write atomic, as the real ones are.
"""

from __future__ import annotations

import sys
import threading
from http import HTTPStatus
from typing import Any

BUCKET = "orris"


def _serve_gs(conditional: bool) -> str:
    from gcp_storage_emulator import server
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects

    plain = objects.insert

    def exists(storage: Any, bucket: str, name: str) -> bool:
        try:
            return bool(storage.get_file_obj(bucket, name))
        except NotFound:
            return False

    def insert(request: Any, response: Any, storage: Any, *args: Any, **kwargs: Any) -> None:
        new_only = request.query.get("ifGenerationMatch") == ["0"]
        if new_only and exists(storage, request.params["bucket_name"], request.data["meta"]["name"]):
            response.status = HTTPStatus.PRECONDITION_FAILED
            response.json(
                {"error": {"code": 412, "message": "At least one of the pre-conditions you specified did not hold."}}
            )
        else:
            plain(request, response, storage, *args, **kwargs)

    if conditional:
        for _, handlers in server.HANDLERS:
            handlers.update({method: insert for method, handler in handlers.items() if handler is plain})
    emulator = server.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    emulator._api.daemon = True
    emulator.start()
    return f"http://127.0.0.1:{emulator._api._httpd.server_address[1]}"


def _serve_s3() -> str:
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    service = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{service.server_port}"
    key = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=url, **key).create_bucket(Bucket=BUCKET)
    return url


if __name__ == "__main__":
    kind = sys.argv[1]
    print(_serve_s3() if kind == "s3" else _serve_gs(conditional=kind == "gs"), flush=True)  # noqa: T201
    sys.stdin.read()
