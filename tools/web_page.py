"""The web page in Gradio's components, and the ASGI application that serves it."""

import html
import time
from pathlib import Path

import fastapi
import gradio as gr

from blitznet import visualize
from blitznet.picture_files import PictureError
from tools import web_view

_STYLE = Path(__file__).with_name("web") / "page.css"
_WAITING, _SESSIONS = 32, 64
_KEPT_SECONDS = 600
# The browser itself refuses whatever a page of Gradio would fetch from, or tell, another host.
_HEADERS = {
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'self'; "
    b"script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    b"worker-src 'self' blob:; object-src 'none'; base-uri 'self'",
}
# Before the first picture, and where a session was forgotten for want of memory.
_NO_PICTURE = "Choose a picture first."


def make_app(predictor, samples, max_upload):
    """The page as an ASGI application.

    Args:
      predictor: a `blitznet.predictor.Predictor`; used by one request at a time.
      samples: list of `web_samples.Sample`, which may be empty.
      max_upload: bytes of a file above which it is refused.
    """
    # No pages of FastAPI's own: those fetch from elsewhere.
    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    outer.add_middleware(_Headers)
    return gr.mount_gradio_app(
        outer,
        Page(predictor, samples, max_upload).blocks,
        path="/",
        footer_links=[],
        run_history=False,
        max_file_size=max_upload,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(
            primary_hue=gr.themes.colors.sky,
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ).set(
            body_text_color_subdued="*neutral_500",
            body_text_color_subdued_dark="*neutral_400",
        ),
        css_paths=[_STYLE],
    )


class Page:
    """Layout and events. A session keeps the `web_view.View` of its picture, nothing else does.

    Attributes:
      blocks: the `gradio.Blocks`.
    """

    def __init__(self, predictor, samples, max_upload):
        """As `make_app`."""
        self._predictor, self._samples = predictor, samples
        with gr.Blocks(
            title="BlitzNet",
            analytics_enabled=False,
            fill_width=False,
            delete_cache=(60, _KEPT_SECONDS),
        ) as self.blocks:
            gr.HTML(_heading(predictor), elem_id="heading")
            self._lay_out(f"Picture, up to {max_upload / 2**20:g} MB")
            self._connect()
        self.blocks.state_session_capacity = _SESSIONS
        self.blocks.queue(max_size=_WAITING, default_concurrency_limit=2)

    def _lay_out(self, upload_label):
        with gr.Row(elem_id="choose"):
            self._upload = gr.File(
                label=upload_label,
                file_types=["image"],
                height=132,
                scale=2,
                min_width=280,
                elem_id="upload",
            )
            self._gallery = gr.Gallery(
                [(sample.thumbnail, None) for sample in self._samples],
                show_label=False,
                visible=bool(self._samples),
                height=132,
                object_fit="cover",
                allow_preview=False,
                interactive=False,
                buttons=[],
                scale=3,
                min_width=280,
                elem_id="samples",
            )
        self._notice = gr.HTML(visible=False, elem_id="notice")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self._image = gr.Image(
                    label="Found",
                    show_label=False,
                    format="jpeg",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="drawn",
                )
                self._timing = gr.HTML(elem_id="timing")
            with gr.Column(scale=2, min_width=300):
                self._lay_out_controls()
        self._view = gr.State(time_to_live=3600)

    def _lay_out_controls(self):
        self._confidence = gr.Slider(
            web_view.LEAST_CONFIDENCE,
            1,
            visualize.LEAST_SCORE,
            step=0.01,
            label="Least confidence",
            visible=self._predictor.detects,
            buttons=[],
            elem_id="confidence",
        )
        self._opacity = gr.Slider(
            0,
            1,
            0.5,
            step=0.05,
            label="Opacity of masks",
            visible=self._predictor.segments,
            buttons=[],
            elem_id="opacity",
        )
        self._classes = gr.CheckboxGroup(
            label="Classes", visible=False, show_select_all=True, elem_id="classes"
        )
        self._found = gr.HTML(elem_id="found")

    def _connect(self):
        sliders = [self._confidence, self._opacity]
        drawn = [self._image, self._found, self._timing]
        looked = [self._upload, self._notice, self._view, self._classes, *drawn]
        # One picture at a time goes through the network, whichever way it came.
        network = {"concurrency_id": "network", "concurrency_limit": 1, "show_progress": "minimal"}
        private = {"api_visibility": "private"}
        self._upload.upload(
            self._look_at_file,
            [self._upload, *sliders],
            looked,
            show_progress_on=self._image,
            **network,
            **private,
        )
        self._gallery.select(
            self._look_at_sample,
            sliders,
            looked,
            show_progress_on=self._image,
            **network,
            **private,
        )
        gr.on(
            [self._confidence.input, self._opacity.input, self._classes.input],
            self._redraw,
            [self._view, *sliders, self._classes],
            [self._notice, *drawn],
            # While a slider moves, the places it passes are skipped.
            trigger_mode="always_last",
            show_progress="hidden",
            **private,
        )

    def _look_at_file(self, path, confidence, opacity):
        return self._look(path, Path(path).name, confidence, opacity)

    def _look_at_sample(self, confidence, opacity, event: gr.SelectData):
        sample = self._samples[event.index]
        return self._look(sample.source, sample.name, confidence, opacity)

    def _look(self, source, name, confidence, opacity):
        """Values of `looked`; the upload's is None, so that it takes the next file."""
        try:
            view = web_view.look(self._predictor, source, name)
        except (OSError, PictureError) as error:
            return None, _notice(error), None, gr.CheckboxGroup(visible=False), None, "", ""
        classes = web_view.classes_found(view.prediction)
        names = view.prediction.class_names
        toggles = gr.CheckboxGroup(
            [(names[c - 1], c) for c in classes], value=classes, visible=bool(classes)
        )
        return None, _notice(), view, toggles, *_drawn(view, confidence, opacity, classes)

    def _redraw(self, view, confidence, opacity, classes):
        if view is None:
            return _notice(_NO_PICTURE), None, "", ""
        return _notice(), *_drawn(view, confidence, opacity, classes)


def _drawn(view, confidence, opacity, classes):
    """Values of the picture, the list, and the line under the picture."""
    began = time.perf_counter()
    picture = web_view.draw(view, classes, confidence, opacity)
    timing = web_view.timing_html(view, time.perf_counter() - began)
    return picture, web_view.found_html(view, classes, confidence), timing


def _notice(sentence=None):
    """The line above the picture: a sentence, or nothing."""
    text = sentence and f'<p role="alert">{html.escape(str(sentence))}</p>'
    return gr.HTML(text or "", visible=bool(sentence))


def _heading(predictor):
    tasks = [("boxes", predictor.detects), ("masks", predictor.segments)]
    names = predictor.class_names
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    source, step = Path(predictor.source), predictor.step
    # A run's folder has its name, an export is DIR/STEP.
    name = source.parent.name if source.name == str(step) else source.name
    network = html.escape(name if step is None else f"{name}, step {step}")
    return (
        f"<h1>BlitzNet</h1><p>{' and '.join(what for what, has in tasks if has).capitalize()} "
        f"of {len(names)} classes ({html.escape(some)}) by <b>{network}</b></p>"
    )


class _Headers:
    """ASGI middleware: the headers that keep a page to its own host."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def with_headers(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS.items()]
            await send(message)

        await self._app(scope, receive, with_headers)
