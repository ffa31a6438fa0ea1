"""The OpenAPI document describes what the service does."""

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np

from tests.service.servers import Server


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_the_document_is_complete(server: Server) -> None:
    document = server.client.get("/v1/openapi.json").json()
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"].keys() == {"title", "version", "description"}
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in schemas
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 13
    for path, of_path in document["paths"].items():
        assert path.startswith("/v1/")
        for operation in of_path.values():
            assert operation["summary"].endswith(".")
            assert "200" in operation["responses"]
            assert all(response["description"] for response in operation["responses"].values())
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert names == set(re.findall(r"{(\w+)}", path))


def test_every_field_is_described(server: Server) -> None:
    schemas = server.client.get("/v1/openapi.json").json()["components"]["schemas"]
    for name, schema in schemas.items():
        assert schema["description"], name
        for field, content in schema["properties"].items():
            assert content.get("description"), f"{name}.{field}"


def test_requests_and_answers_fit_their_schemas(server: Server) -> None:
    document = server.client.get("/v1/openapi.json").json()

    def check(name: str, content: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(content)

    still = np.zeros((17, 25)).tolist()
    predict = {"rows": [{"start": 0, "actions": still}], "frames": "all", "states": True}
    check("PredictRequest", predict)
    check("PredictAnswer", server.post("/v1/predict", **predict))
    for name, path in (("Health", "health"), ("Capabilities", "capabilities"), ("StartAnswer", "starts/1")):
        check(name, server.client.get(f"/v1/{path}").json())
    opened = server.post("/v1/sessions", start=0)
    check("OpenAnswer", opened)
    check("StepAnswer", server.post(f"/v1/sessions/{opened['id']}/step", actions=still))
    check("ForkAnswer", server.post(f"/v1/sessions/{opened['id']}/fork", seeds=[1, None]))
    check("ErrorAnswer", server.client.get("/v1/nothing").json())


def test_a_page_lists_the_operations(server: Server) -> None:
    response = server.client.get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "POST /v1/sessions/{name}/fork" in response.text
    assert "<script" not in response.text


def test_metrics_are_prometheus_text(server: Server) -> None:
    server.client.get("/v1/health")
    server.client.get("/v1/nothing/at/all")
    response = server.client.get("/v1/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = set()
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            names.add(line.split()[2])
        elif not line.startswith("#"):
            sample = re.fullmatch(r'(\w+)(\{(\w+="[^"\\]*",?)+\})? (\S+)', line)
            assert sample, line
            float(sample[4])
            assert sample[1] in names or re.sub("_(bucket|sum|count)$", "", sample[1]) in names
    assert server.metric('hwm_requests_total{method="GET",path="/v1/health",status="200"}') >= 1
    assert server.metric('hwm_requests_total{method="GET",path="other",status="404"}') >= 1
