"""What goes wrong, as each door says it. No traceback ever leaves the server."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from studio.errors import (
    JobNotFound,
    JobStateError,
    ModelError,
    OutputError,
    PictureError,
    QueueFull,
    RequestError,
    StudioError,
    UnavailableError,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[StudioError], int] = {
    JobNotFound: 404,
    JobStateError: 409,
    QueueFull: 429,
    RequestError: 422,
    PictureError: 422,
    ModelError: 422,
    UnavailableError: 503,
    OutputError: 507,
}


def install(app: FastAPI) -> None:
    """Has the application answer errors in the shape of the door that was used."""
    app.add_exception_handler(StudioError, _of_studio)
    app.add_exception_handler(RequestValidationError, _of_fields)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(Exception, _unforeseen)


async def _of_studio(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StudioError)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, RequestError):
        said = _said(error, str(error), error.field, error.reason, error.valid)
    else:
        said = _said(error, str(error), valid=error.valid)
    headers = {}
    if isinstance(error, QueueFull):
        headers["Retry-After"] = str(error.retry_after_s)
    return answer(request, status, said, headers)


async def _of_fields(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    field, reason = ".".join(where) or "body", str(first["msg"])
    said = _said(RequestError, f"{field}: {reason}.", field, reason)
    return answer(request, 422, said)


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    said = _said(error, str(error.detail))
    return answer(request, error.status_code, said, dict(error.headers or {}))


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("unforeseen", exc_info=error, extra={"path": request.url.path})
    return answer(request, 500, _said(StudioError, "Something unforeseen went wrong."))


def _said(
    kind: object, message: str, field: str = "", reason: str = "", valid: str = ""
) -> dict[str, str]:
    name = kind.__name__ if isinstance(kind, type) else type(kind).__name__
    return {
        "type": name,
        "message": message,
        "field": field,
        "reason": reason,
        "valid": valid,
    }


def answer(
    request: Request, status: int, said: dict[str, str], headers: dict[str, str] | None = None
) -> JSONResponse:
    """An error in the shape of the door that was used: ours, OpenAI's or AUTOMATIC1111's."""
    path = request.url.path
    if path.startswith("/v1/"):
        status = 400 if status == 422 else status
        known = {404: "not_found_error", 429: "rate_limit_error"}
        kind = known.get(status, "server_error" if status >= 500 else "invalid_request_error")
        content: dict[str, object] = {
            "error": {
                "message": said["message"],
                "type": kind,
                "param": said["field"] or None,
                "code": None,
            }
        }
    elif path.startswith("/sdapi/"):
        names = {"error": said["type"], "detail": said["message"], "body": "", "errors": ""}
        content = {**names, **{key: said[key] for key in ("field", "reason", "valid")}}
    else:
        content = {"error": said}
    return JSONResponse(content, status, headers)
