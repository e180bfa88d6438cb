"""Clients that openapi-generator makes from our document compile, and call every documented predict route of a server.

TypeScript is compiled in strict mode. Java is compiled beside the Jackson that the generator's own jar holds; the three
annotations that its sources name come from a library that nothing reads when the client runs, so they are written here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.calls import Call
from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

HERE = Path(__file__).parent
NEEDED = {"python": ("java",), "typescript-fetch": ("java", "npm"), "java": ("java", "javac")}
"""Programs, by the generator that needs them."""

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "python": {},
    "typescript-fetch": {},
    "java": {"library": "native", "openApiNullable": "false"},
}
ANNOTATIONS = {
    "Generated": 'String[] value(); String date() default ""; String comments() default "";',
    "Nonnull": "",
    "Nullable": "",
}


def run(command: Sequence[str | Path], folder: Path, **environ: str) -> str:
    """Run a program and return its output; what it wrote is the message if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4_000:]
    return done.stdout


def camel(operation: str) -> str:
    """Return the method of an operation in TypeScript and Java."""
    first, *others = operation.split("_")
    return first + "".join(word.capitalize() for word in others)


def group(call: Call) -> str:
    """Return the class of an operation's group."""
    return re.sub(r"\W", "", call.tag[0].upper() + call.tag[1:]) + "Api"


@pytest.fixture(scope="module")
def generated(python: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the clients, each in the folder of its generator's name; all are generated in one run of Java."""
    if not shutil.which("java"):
        pytest.skip("java is missing: apt-get install default-jdk-headless")
    folder = tmp_path_factory.mktemp("openapi-generator")
    (folder / "openapi.json").write_text(json.dumps(document), "utf-8")
    for name, properties in CONFIGURATIONS.items():
        configuration = {"generatorName": name, "inputSpec": "openapi.json", "outputDir": name}
        text = yaml.safe_dump({**configuration, "additionalProperties": properties})
        (folder / f"{name}.yaml").write_text(text, "utf-8")
    generator = python.parent / "openapi-generator-cli"
    configurations = [f"{name}.yaml" for name in CONFIGURATIONS]
    run([generator, "batch", "--fail-fast", *configurations], folder, JAVA_TOOL_OPTIONS="-XX:TieredStopAtLevel=1")
    return folder


def python_program(folder: Path, python: Path, calls: list[Call]) -> list[str | Path]:
    """Write the Python program, and return its command."""
    lines = ["import json", "import sys", "import openapi_client as generated", "from openapi_client.models import *"]
    lines += ["client = generated.ApiClient(generated.Configuration(host=sys.argv[1]))"]
    for call in calls:
        arguments = "".join(f"{value!r}, " for value in call.arguments.values())
        body = f"{call.request}.from_dict({call.body!r})"
        lines += [
            f"answer = generated.{group(call)}(client).{call.operation}_with_http_info({arguments}{body})",
            "data = getattr(answer.data, 'actual_instance', answer.data)",
            "print(json.dumps([answer.status_code, type(data).__name__, data.to_dict()]))",
        ]
    (folder / "program.py").write_text("\n".join(lines), "utf-8")
    return [python, "program.py"]


def typescript_program(folder: Path, calls: list[Call]) -> list[str | Path]:
    """Write and compile the TypeScript program, and return its command."""
    lines = ["import * as generated from './index';", "declare const process: {argv: string[]};"]
    lines += ["const configuration = new generated.Configuration({basePath: process.argv[2]});"]
    lines += ["async function main() {"]
    for call in calls:
        parameter = call.request[0].lower() + call.request[1:]
        arguments = "".join(f"{name}: {json.dumps(value)}, " for name, value in call.arguments.items())
        body = f"{parameter}: generated.{call.request}FromJSON({json.dumps(call.body)})"
        lines += [
            "{",
            f"  const api = new generated.{group(call)}(configuration);",
            f"  const answer = await api.{camel(call.operation)}Raw({{{arguments}{body}}});",
            "  const data = await answer.value();",
            "  console.log(JSON.stringify([answer.raw.status, '', data]));",
            "}",
        ]
    (folder / "program.ts").write_text("\n".join([*lines, "}", "main();"]), "utf-8")
    for name in ("package.json", "package-lock.json", "tsconfig.json"):
        shutil.copy(HERE / name, folder)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"], folder)
    run(["node_modules/.bin/tsc", "--project", "tsconfig.json"], folder)
    return ["node", "compiled/program.js"]


def java_program(folder: Path, python: Path, calls: list[Call]) -> list[str | Path]:
    """Write and compile the Java program, and return its command."""
    jar = next(python.parents[1].glob("lib/python*/site-packages/openapi_generator_cli/openapi-generator.jar"))
    lines = ["import org.openapitools.client.*;", "import org.openapitools.client.api.*;"]
    lines += ["import org.openapitools.client.model.*;", "public class Program {"]
    lines += ["static com.fasterxml.jackson.databind.ObjectMapper mapper = new JSON().getMapper();"]
    lines += ["static void show(ApiResponse<?> answer) throws Exception {"]
    lines += ["  Object data = answer.getData();"]
    lines += ["  if (data instanceof AbstractOpenApiSchema one) data = one.getActualInstance();"]
    lines += ["  Object[] found = {answer.getStatusCode(), data.getClass().getSimpleName(), data};"]
    lines += ["  System.out.println(mapper.writeValueAsString(found));", "}"]
    lines += ["public static void main(String[] arguments) throws Exception {"]
    # A union is read as the member that has all of the object's keys, so unknown keys have to count.
    unknown = "com.fasterxml.jackson.databind.DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES"
    lines += [f"mapper.enable({unknown});"]
    lines += ["var client = new ApiClient(java.net.http.HttpClient.newBuilder(), mapper, arguments[0]);"]
    for call in calls:
        arguments = "".join(f"{json.dumps(value)}, " for value in call.arguments.values())
        body = f"mapper.readValue({json.dumps(json.dumps(call.body))}, {call.request}.class)"
        lines += [f"show(new {group(call)}(client).{camel(call.operation)}WithHttpInfo({arguments}{body}));"]
    sources = folder / "src" / "main" / "java"
    (sources / "Program.java").write_text("\n".join([*lines, "}", "}"]), "utf-8")
    (sources / "javax" / "annotation").mkdir(parents=True)
    for name, members in ANNOTATIONS.items():
        text = f"package javax.annotation;\npublic @interface {name} {{ {members} }}\n"
        (sources / "javax" / "annotation" / f"{name}.java").write_text(text, "utf-8")
    files = [file.relative_to(folder) for file in sources.rglob("*.java")]
    run(["javac", "-nowarn", "-encoding", "utf-8", "-d", "classes", "-classpath", jar, *files], folder)
    return ["java", "-classpath", f"classes{os.pathsep}{jar}", "Program"]


@pytest.mark.parametrize("generator", CONFIGURATIONS)
def test_a_generated_client_compiles_and_calls_every_documented_predict_route(
    generator: str, generated: Path, python: Path, calls: list[Call], served: Server
) -> None:
    """Every example of every operation that asks a model is sent by the client, and its answer is read."""
    missing = [program for program in NEEDED[generator] if not shutil.which(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: apt-get install default-jdk-headless npm")
    folder = generated / generator
    if generator == "python":
        command = python_program(folder, python, calls)
    elif generator == "java":
        command = java_program(folder, python, calls)
    else:
        command = typescript_program(folder, calls)
    answers = [json.loads(line) for line in run([*command, served.url], folder, no_proxy="*").splitlines()]
    lists = {"Instances": "PredictionList"}
    for call, (status, kind, parsed) in zip(calls, answers, strict=True):
        assert status == 200, (call, parsed)
        if call.request == "PredictRequest":
            assert kind in {"", lists.get(call.form, "Answer")}, call
        label = parsed["predictions"][0] if "predictions" in parsed else label_of(parsed)
        assert label == "setosa", (call, parsed)


def label_of(parsed: dict[str, Any]) -> Any:
    """Return the label of a single answer, or of the first output of V2."""
    if "outputs" in parsed:
        return parsed["outputs"][0]["data"][0]
    return parsed.get("prediction_label", parsed.get("predictionLabel"))
