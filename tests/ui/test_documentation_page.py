"""Tests of the interactive documentation in a browser."""

from __future__ import annotations

from tests.servers import Server
from tests.ui.browser import Visit


def test_the_predict_routes_of_the_default_model_come_first(visit: Visit, server: Server) -> None:
    """The page begins with the routes that name no model, and others show templates in place of models' names."""
    page = visit.open(f"{server.url}/docs", ready=".opblock-summary-path >> nth=0")
    paths = [str(each.get_attribute("data-path")) for each in page.locator(".opblock-summary-path").all()]
    assert paths[:3] == ["/api/v1/predict", "/predict", "/predict/"]
    assert "/v2/models/{model}/infer" in paths
    assert [path for path in paths if "iris" in path] == []
