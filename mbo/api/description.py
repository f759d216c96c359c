"""The API's description: what every route may answer, and a page that shows it and loads nothing from elsewhere."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import mbo
from mbo.api.problems import MEDIA_TYPE, ProblemError


class ProblemDocument(BaseModel):
    """What went wrong (RFC 9457); `request_id` is the one in the answer's X-Request-Id, and in the server's log."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


_MEANING: Final = {
    400: "The request cannot be read.",
    401: "A key is needed, or is not known.",
    403: "The key is not good for this.",
    404: "There is no such thing.",
    406: "This is to be had in other forms.",
    409: "This does not go now: the store has not what it needs, or a recording goes on.",
    410: "What the cursor pointed into is gone.",
    413: "The body is too long.",
    422: "The request can be read, and makes no sense; or the answer would be too long.",
    429: "Too many requests: wait for so many seconds as Retry-After says.",
    503: "Not to be had just now: the feed or the store is gone, or busy.",
    504: "There was no answer in time.",
}
_SCHEMA: Final = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_WAIT: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}}}
_ABOUT: Final = """\
Order books from market-by-order data: live, at any instant that is stored, and as a stream.

**Numbers.** What DBN holds in 64 bits (prices in units of 1e-9, order ids, times in ns since 1970 UTC) is a text of decimal
digits, as in Databento's own JSON: JavaScript's numbers are exact up to 2^53 only. All else is a number. What is missing is null.

**Errors** are problem documents (RFC 9457). Every answer has an `X-Request-Id`, your own if you sent one.

**Keys.** `Authorization: Bearer KEY`. Keys with the role `read` may read, `control` may control the replay as well.

**Stream.** `GET /v1/stream?symbols=A,B&depth=10&hz=10&format=json|binary&since=N` is a WebSocket: of each symbol a snapshot first,
then conflated updates. Each message has a `seq`, the `prev` it follows on, the book's own position and a CRC-32 of the levels that
it leads to. Who falls behind gets a snapshot instead of what was missed, and who reads nothing is let go with a reason. There is a
ping each second: until it is answered, which every WebSocket library does by itself, nothing more is sent. `since`, the last `seq`
that was seen, gives what was missed meanwhile, or a snapshot where that is too long ago. Browsers, which send no headers, offer the
subprotocols `mbo.v1` and `bearer.KEY`, or send `{"key": "KEY"}` as their first message.
"""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declare which problems a route may answer with."""
    found: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        found[status] = {"description": _MEANING[status], "content": _SCHEMA}
        if status in (429, 503, 504):
            found[status]["headers"] = _WAIT
    return found


def describe(app: FastAPI, *, keys: bool) -> dict[str, Any]:
    """Make the OpenAPI document, once."""
    if app.openapi_schema is None:
        made = get_openapi(title="mbo", version=mbo.__version__, description=_ABOUT, routes=app.routes)
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        if keys:
            made["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            made["security"] = [{"bearer": []}]
        app.openapi_schema = made
    return app.openapi_schema


def refusal(errors: list[Any]) -> ProblemError:
    """Say what is wrong with a request that does not fit its route's description."""
    first = errors[0]
    place = ".".join(map(str, first["loc"][1:])) or "the body"
    more = [{"where": list(map(str, one["loc"])), "what": one["msg"]} for one in errors[:8]]
    return ProblemError(422, f"{place}: {first['msg'][:300]}", more={"errors": more})


PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>mbo API</title><meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="docs/app.css"></head>
<body><main id="page"><p>The description is loaded from <a href="openapi.json">openapi.json</a>.</p></main>
<script src="docs/app.js"></script></body></html>
"""
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #1b2733; background: #fff; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: #f0f3f6; border-radius: 3px; padding: 0 .25em; }
section { border-top: 1px solid #c8d1da; padding: .5rem 0; } summary { cursor: pointer; }
.method { display: inline-block; min-width: 4em; font-weight: bold; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; }
@media (prefers-color-scheme: dark) {
  body { color: #d9e1e8; background: #10161c; } code, pre { background: #1d2731; } a { color: #7db8f0; }
}
"""
SCRIPT: Final = """
"use strict";
const make = (tag, text, ...children) => {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const table = (head, rows) => {
  const body = rows.map(row => make("tr", "", ...row.map(cell => make("td", cell))));
  return make("table", "", make("tr", "", ...head.map(name => make("th", name))), ...body);
};
const kind = schema => {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  return schema.type === "array" ? "list of " + kind(schema.items) : schema.type || "";
};
const route = (path, method, about) => {
  const node = make("details", "", make("summary", "", Object.assign(make("span", method.toUpperCase()), { className: "method" }),
    make("code", path), " " + (about.description || "").split("\\n")[0]));
  const values = (about.parameters || []).map(one =>
    [one.name + (one.required ? " (needed)" : ""), one.in, kind(one.schema), one.description || ""]);
  if (values.length) node.append(table(["parameter", "in", "type", "meaning"], values));
  const body = about.requestBody && about.requestBody.content["application/json"];
  if (body) node.append(make("p", "Body: " + kind(body.schema)));
  node.append(table(["status", "as", "meaning"], Object.entries(about.responses).map(([status, one]) =>
    [status, Object.keys(one.content || {}).join(", "), one.description])));
  return make("section", "", node);
};
const schema = (name, about) => make("section", "", make("details", "", make("summary", "", make("code", name)),
  make("p", about.description || ""),
  table(["member", "type"], Object.entries(about.properties || {}).map(([key, one]) => [key, kind(one)]))));
fetch("openapi.json").then(answer => answer.json()).then(api => {
  const page = document.getElementById("page");
  page.replaceChildren(make("h1", api.info.title + " API " + api.info.version));
  for (const part of api.info.description.split("\\n\\n")) page.append(make("p", part.replaceAll("**", "").replaceAll("`", "")));
  page.append(make("h2", "Routes"));
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, about] of Object.entries(methods)) page.append(route(path, method, about));
  page.append(make("h2", "Documents"));
  for (const [name, about] of Object.entries(api.components.schemas)) page.append(schema(name, about));
});
"""
