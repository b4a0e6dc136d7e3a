"""The examples under docs/ parse, and their commands are ones that the tools know."""

import pytest
import yaml

from helpers import CHECKOUT
from tools import serve


def test_the_kubernetes_example_runs_the_server_at_the_port_that_it_asks():
    text = (CHECKOUT / "docs" / "serving" / "kubernetes.yaml").read_text()
    deployment, service = yaml.safe_load_all(text)
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    program, flags = container["command"][:3], container["command"][3:]
    assert program == ["python", "-m", "tools.serve"]
    port = serve.build_parser().parse_args(flags).port
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {probe["port"] for probe in probes} == {port}
    assert service["spec"]["ports"] == [{"port": port}]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("name", ["models.config", "batching.config"])
def test_the_configurations_of_tensorflow_serving_close_what_they_open(name):
    lines = (CHECKOUT / "docs" / "serving" / name).read_text().splitlines()
    text = "\n".join(line.partition("#")[0] for line in lines)
    assert text.strip() and text.count("{") == text.count("}")
