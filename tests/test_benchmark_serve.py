"""The load test: its arithmetic by hand, its judgement, and a small run of each kind."""

import json

import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("uvicorn", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("prometheus_client", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("orjson", reason="needs the extra [serve]: pip install -e .[serve]")
pytest.importorskip("requests", reason="needs the extra [serve]: pip install -e .[serve]")

from serve_fixture import encoded, noise, write_detector  # noqa: E402
from tools.benchmark import answers, serve  # noqa: E402
from tools.benchmark.__main__ import main  # noqa: E402
from tools.benchmark.server import LoadTestError  # noqa: E402


def test_summary_by_hand():
    # Two measurements of 1 s and 3 s: 5 requests in 4 s; percentiles of 10, 20, 30, 40, 100 ms.
    parts = [([0.04, 0.01], 1.0), ([0.1, 0.02, 0.03], 3.0)]
    assert serve.summarise(parts) == pytest.approx(
        {
            "requests": 5,
            "requests_per_second": 1.25,
            "mean_ms": 40,
            "p50_ms": 30,
            "p95_ms": 88,  # rank 0.95 * 4 = 3.8: 40 + 0.8 * 60
            "p99_ms": 97.6,  # rank 3.96: 40 + 0.96 * 60
        }
    )


def test_the_plan_has_bad_requests_of_every_kind_in_their_share():
    plan = answers.plan_requests(10_000, 0.1, 7)
    assert plan == answers.plan_requests(10_000, 0.1, 7)
    bad = [each for each in plan if isinstance(each, str)]
    assert 900 < len(bad) < 1100 and set(bad) == set(answers.bad_bodies(b""))
    assert {each for each in plan if not isinstance(each, str)} == set(range(7))


class Response:
    def __init__(self, status_code, content):
        self.status_code, self._content, self.text = status_code, content, str(content)

    def json(self):
        return self._content


def about(scores, class_map):
    row = {"detection_scores": scores, "semantic_classes": class_map}
    return Response(200, {"predictions": [row]})


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (about([0.9, 0.5], [[1, 2]]), "right answers"),
        (about([0.9, 0.5001], [[1, 2]]), "right answers"),
        (about([0.9, 0.5], [[1, 2], [1, 2]]), "answers that are not the picture's"),
        (about([0.9, 0.6], [[1, 2]]), "answers that are not the picture's"),
        (about([0.9, 0.5], [[1, 1]]), "answers that are not the picture's"),
        (Response(503, {"error": "busy"}), "good requests answered 503"),
    ],
)
def test_an_answer_is_judged_by_the_known_one(response, outcome):
    known = {"scores": np.array([0.9, 0.5]), "class_map": np.array([[1, 2]])}
    assert answers.judge(response, known) == outcome


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (Response(400, {"error": "no picture"}), "bad requests refused by 400"),
        (Response(400, {}), "bad requests answered 400"),
        (Response(200, {"predictions": []}), "bad requests answered 200"),
    ],
)
def test_a_bad_request_must_be_refused(response, outcome):
    assert answers.judge_bad(response) == outcome


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a small model whose answers tell pictures apart."""
    folder = tmp_path_factory.mktemp("served") / "toy"
    write_detector(folder / "1")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(5):
        (folder / f"{n}.png").write_bytes(encoded(noise(20, 20, n) // (n + 1)))
    return folder


@pytest.mark.slow
def test_load_is_measured_by_clients_with_batching_and_without(model, pictures, tmp_path, capsys):
    report = tmp_path / "load.json"
    flags = ["--model", model, "--pictures", pictures, "--json", report]
    flags += ["--clients", 1, 3, "--seconds", 0.2, "--rounds", 2]
    assert main(["serve", *map(str, flags)]) == 0
    rows = json.loads(report.read_text())["load"]
    expected = [("off", 1), ("on", 1), ("off", 3), ("on", 3)]
    assert [(row["batching"], row["clients"]) for row in rows] == expected
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == list(rows[0])
    assert printed[-1].startswith("device CPU, threads ")
    assert [line.split()[:3] for line in printed[2:-1]] == [
        [row["batching"], str(row["clients"]), str(row["requests"])] for row in rows
    ]


@pytest.mark.slow
def test_every_answer_is_checked(model, pictures, tmp_path, capsys):
    report = tmp_path / "check.json"
    flags = ["--model", model, "--pictures", pictures, "--json", report]
    flags += ["--clients", 4, "--requests", 120, "--bad_share", 0.2]
    assert main(["serve", *map(str, flags)]) == 0
    result = json.loads(report.read_text())
    plan = answers.plan_requests(120, 0.2, 5)
    bad = sum(isinstance(each, str) for each in plan)
    assert result["outcomes"] == {"right answers": 120 - bad, "bad requests refused by 400": bad}
    assert result["wrong"] == {} and len(result["resident_mb"]) == 10
    assert "answered" in capsys.readouterr().out


def test_pictures_with_the_same_answer_cannot_be_checked(monkeypatch):
    known = {"scores": np.array([0.9]), "class_map": np.array([[1]])}
    with pytest.raises(LoadTestError, match="0 and 1 have the same answer"):
        answers._require_distinct([known, known])


def test_a_server_that_does_not_start_is_an_error(tmp_path, capfd):
    pictures = tmp_path / "a.png"
    pictures.write_bytes(encoded(noise(4, 4)))
    (tmp_path / "empty").mkdir()
    flags = ["--model", tmp_path / "empty", "--pictures", tmp_path, "--requests", 1]
    assert main(["serve", *map(str, flags)]) == 1
    errors = capfd.readouterr().err
    assert "has no version" in errors and "tools.serve did not start" in errors


def test_a_folder_without_pictures_is_an_error(tmp_path, capsys):
    flags = ["--model", tmp_path, "--pictures", tmp_path]
    assert main(["serve", *map(str, flags)]) == 1
    assert f"{tmp_path} has no pictures" in capsys.readouterr().err
