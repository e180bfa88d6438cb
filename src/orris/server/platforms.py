"""Translates a platform's environment (Vertex AI's ``AIP_*``, SageMaker's conventions, ``PORT``) into settings.

Source: Google's "Custom container requirements for inference", and SageMaker's "Use your own inference code with
hosting services".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orris.errors import SettingsError

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (a platform reaches its container from outside)
SAGEMAKER_MODEL = "/opt/ml/model"
SAGEMAKER_PORT = "8080"

_PORTS = ("AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT")
_OTHERS = {
    "MODEL_PATH": "ORRIS_MODEL",
    "AIP_PREDICT_ROUTE": "ORRIS_PREDICT_ROUTE",
    "AIP_HEALTH_ROUTE": "ORRIS_HEALTH_ROUTE",
    "AIP_STORAGE_URI": "ORRIS_MODEL",
}


def translate(environ: Mapping[str, str], *, model_named: bool = False) -> dict[str, str]:
    """The environment, with what the platform says written over ``ORRIS_*``: an image's own settings give way to it.

    ``PORT``, which Cloud Run and others set, gives way to ``ORRIS_PORT``; ``MODEL_PATH`` wins over ``ORRIS_MODEL``.

    A bundle in SageMaker's model folder (``SM_MODEL_DIR``, or ``/opt/ml/model``) is served on port 8080 of every
    address, where nothing else is said.

    Args:
        environ: The process' environment.
        model_named: The command line names a model, so none is looked for.

    Raises:
        SettingsError: A malformed variable of the platform; names it.
    """
    translated = dict(environ)
    if environ.get("PORT") and not environ.get("ORRIS_PORT"):
        translated["ORRIS_PORT"] = _port("PORT", environ["PORT"])
    for variable in _PORTS:
        if environ.get(variable):
            translated |= {"ORRIS_PORT": _port(variable, environ[variable]), "ORRIS_HOST": ANY_ADDRESS}
    for variable, ours in _OTHERS.items():
        value = environ.get(variable, "")
        if value:
            if "ROUTE" in variable and not value.startswith("/"):
                raise SettingsError(f"{variable}={value}: a path that begins with / is needed")
            translated[ours] = value
    folder = environ.get("SM_MODEL_DIR", "") or SAGEMAKER_MODEL
    if not model_named and not translated.get("ORRIS_MODEL") and Path(folder).is_dir():
        from orris.bundle import MANIFEST  # noqa: PLC0415 (NumPy, which a supervisor of workers does without)

        if not (Path(folder) / MANIFEST).is_file():
            return translated
        translated = {"ORRIS_HOST": ANY_ADDRESS, "ORRIS_PORT": SAGEMAKER_PORT, **translated, "ORRIS_MODEL": folder}
    return translated


def _port(variable: str, port: str) -> str:
    if not (port.isascii() and port.isdigit() and int(port[:6]) < 65_536):
        raise SettingsError(f"{variable}={port}: a port number is needed")
    return port
