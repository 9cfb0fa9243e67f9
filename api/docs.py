"""/docs without a content network: Swagger UI from the package that carries it."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css")


def add_docs(app: FastAPI) -> None:
    """Serve it."""
    assets = files("fastapi_offline").joinpath("static")

    async def docs(_: Request) -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="queuechat",
            swagger_js_url=f"/docs/{_ASSETS[0]}",
            swagger_css_url=f"/docs/{_ASSETS[1]}",
            swagger_favicon_url="data:,",
        )

    def serve(name: str) -> None:
        async def asset(_: Request) -> Response:
            return FileResponse(str(assets.joinpath(name)))

        app.add_route(f"/docs/{name}", asset, include_in_schema=False)

    app.add_route("/docs", docs, include_in_schema=False)
    for name in _ASSETS:
        serve(name)
