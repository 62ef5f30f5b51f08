"""The server against its own OpenAPI description, by schemathesis."""

from pathlib import Path

import schemathesis
from hypothesis import given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from underhood import Predictor, train
from underhood.serving.app import make_app


def test_generated_requests_get_documented_responses(tmp_path: Path) -> None:
    run = train("digits", epochs=2, out=tmp_path / "run", report=False)["run"]
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(Predictor.load(run), tmp_path / "saved"))
    tried: dict[str, set[int]] = {}
    for operation in [found.ok() for found in schema.get_all_operations()]:
        for mode in (
            schemathesis.GenerationMode if operation.method == "post" else [schemathesis.GenerationMode.POSITIVE]
        ):

            @settings(max_examples=100, database=None)
            @given(operation.as_strategy(generation_mode=mode))
            def try_it(case: schemathesis.Case) -> None:
                answer = case.call_and_validate(
                    checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
                )
                tried.setdefault(case.path, set()).add(answer.status_code)

            try_it()
    assert set(tried) == {"/api/predict", "/api/explain", "/api/collect", "/api/model", "/api/health"}
    assert tried["/api/health"] >= {200}
    assert tried["/api/predict"] & {400, 415, 422}
