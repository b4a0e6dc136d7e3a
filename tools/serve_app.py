"""The HTTP side of `tools.serve`: routes, limits, health, metrics."""

import asyncio
import contextlib
import threading
import time
from typing import NamedTuple, Optional

import prometheus_client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tools import serve_json
from tools.serve_json import RequestError
from tools.serve_model import check_pictures

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
_JSON = "application/json"


class Limits(NamedTuple):
    """What a request may take.

    Attributes:
      body: bytes of a request.
      rows: pictures of a request.
      pixels: width x height of a picture; None for what the model says (`most_pixels`).
      waiting: requests at a time, those that are answered and those that wait.
      seconds: until a request is given up.
    """

    body: int
    rows: int
    pixels: Optional[int]
    waiting: int
    seconds: float


class Metrics:
    """What the server counts, for Prometheus."""

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        own = {"registry": self.registry}
        self.requests = prometheus_client.Counter(
            "serve_requests", "requests to predict, by HTTP status", ["code"], **own
        )
        self.seconds = prometheus_client.Histogram(
            "serve_request_seconds", "time from a request to its answer", **own
        )
        self.call_rows = prometheus_client.Histogram(
            "serve_call_rows", "pictures of a call of the network", buckets=_BATCH_BUCKETS, **own
        )
        self.in_flight = prometheus_client.Gauge(
            "serve_requests_in_flight", "requests that are answered or wait", **own
        )
        self.version = prometheus_client.Gauge("serve_model_version", "version served", **own)


class Server:
    """Handlers of one model's routes; `app()` is the ASGI application."""

    def __init__(self, name, versions, limits, metrics, poll_seconds):
        """
        Args:
          name: of the model, as in the routes.
          versions: a started `serve_versions.Versions`.
          limits: `Limits`.
          metrics: `Metrics`.
          poll_seconds: between two looks at the versions' folder; 0 for none.
        """
        self._name, self._versions, self._limits = name, versions, limits
        self._metrics, self._poll_seconds = metrics, poll_seconds
        self._slots = threading.BoundedSemaphore(limits.waiting)
        metrics.version.set_function(lambda: versions.served)

    def app(self):
        """The Starlette application."""
        model, version = "/v1/models/{name}", "/v1/models/{name}/versions/{version:int}"
        routes = [
            Route(f"{path}:predict", self.predict, methods=["POST"]) for path in (model, version)
        ]
        for path in (model, version):
            routes += [Route(f"{path}/metadata", self.metadata), Route(path, self.status)]
        routes += [
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/metrics", self.prometheus),
        ]
        handlers = {RequestError: _refused, HTTPException: _malformed, Exception: _failed}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _):
        polling = asyncio.create_task(self._poll()) if self._poll_seconds else None
        yield
        if polling:
            polling.cancel()
        self._versions.close()

    async def _poll(self):
        while True:
            await asyncio.sleep(self._poll_seconds)
            await asyncio.to_thread(self._versions.poll)

    async def predict(self, request):
        """POST /v1/models/<name>[/versions/<v>]:predict"""
        began, code = time.perf_counter(), 500
        try:
            with self._metrics.in_flight.track_inprogress():
                response = await asyncio.wait_for(self._predict(request), self._limits.seconds)
            code = 200
            return response
        except asyncio.TimeoutError:
            code = 504
            message = f"not answered within {self._limits.seconds:g} s (--timeout)"
            raise RequestError(code, message) from None
        except RequestError as error:
            code = error.status
            raise
        except ClientDisconnect:
            code = 499
            return Response(status_code=code)
        finally:
            self._metrics.requests.labels(code).inc()
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _predict(self, request):
        self._check_name(request)
        if not self._slots.acquire(blocking=False):
            await _read(request, 0)
            raise RequestError(
                503, f"{self._limits.waiting} requests are waiting (--max_waiting): try again"
            )
        try:
            body = await _read(request, self._limits.body)
            if body is None:
                raise RequestError(
                    413, f"the request exceeds {self._limits.body:,} bytes (--max_body_mb)"
                )
            answer = await self._answer(body, request.path_params.get("version"))
        finally:
            self._slots.release()
        return Response(answer, media_type=_JSON)

    async def _answer(self, body, version):
        """The body of the answer to a body. What takes the processor long runs in threads."""
        request = await asyncio.to_thread(serve_json.parse, body)
        with self._versions.borrow(version) as model:
            inputs = await asyncio.to_thread(self._inputs, request, model)
            outputs = await asyncio.wrap_future(model.submit(request.signature, inputs))
        return await asyncio.to_thread(serve_json.answer, request.by_row, outputs)

    def _inputs(self, request, model):
        """The inputs of a parsed request, within the limits."""
        inputs = serve_json.input_arrays(request, model.specs(request.signature))
        rows = len(next(iter(inputs.values())))
        if rows > self._limits.rows:
            raise RequestError(
                400, f"{rows} values; a request may have {self._limits.rows} (--max_rows)"
            )
        check_pictures(inputs, self._limits.pixels or model.most_pixels(request.signature))
        return inputs

    async def status(self, request):
        """GET /v1/models/<name>[/versions/<v>]"""
        self._check_name(request)
        return JSONResponse(self._versions.status(request.path_params.get("version")))

    async def metadata(self, request):
        """GET /v1/models/<name>[/versions/<v>]/metadata"""
        self._check_name(request)
        with self._versions.borrow(request.path_params.get("version")) as model:
            return JSONResponse(serve_json.metadata(self._name, model.version, model.definitions))

    async def alive(self, _):
        """GET /healthz: the process answers."""
        return PlainTextResponse("ok\n")

    async def ready(self, _):
        """GET /readyz: a version is served, and a request would not be turned away."""
        free = self._slots.acquire(blocking=False)
        if free:
            self._slots.release()
        return PlainTextResponse("ok\n" if free else "busy\n", 200 if free else 503)

    async def prometheus(self, _):
        """GET /metrics"""
        content = prometheus_client.generate_latest(self._metrics.registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    def _check_name(self, request):
        name = request.path_params["name"]
        if name != self._name:
            raise RequestError(
                404, f"Could not find any versions of model {name}; this server has {self._name}"
            )


async def _read(request, limit):
    """The body, or None where it is longer than `limit` bytes.

    It is read to its end all the same: a client that still sends would not see the answer.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        chunks.append(chunk)
        if size > limit:
            chunks.clear()
    return b"".join(chunks) if size <= limit else None


def _refused(_, error):
    wait = {"Retry-After": "1"} if error.status == 503 else None
    return JSONResponse({"error": str(error)}, error.status, wait)


def _malformed(request, error):
    # TensorFlow Serving's answer to paths and methods that it does not know.
    message = f"Malformed request: {request.method} {request.url.path}"
    return JSONResponse({"error": message}, 404 if error.status_code == 404 else 400)


def _failed(_, error):
    return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 500)
