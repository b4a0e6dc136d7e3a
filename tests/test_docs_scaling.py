"""The examples of docs/scaling parse; training.py takes their flags and their TF_CONFIG."""

import os
import re
import stat
import subprocess

import yaml

import config
from blitznet.distribution import read_tf_config
from helpers import CHECKOUT

FOLDER = CHECKOUT / "docs" / "scaling"


def check_flags(flags):
    """Parsed and validated as training.py does; answers them."""
    args = config.training_parser().parse_args(flags)
    config.training_config(args)
    assert args.strategy == "multi_worker"
    # The rule of docs/scaling.md, from 32 pictures at 1e-4.
    assert args.learning_rate == 1e-4 * args.batch_size / 32
    assert args.max_iterations * args.batch_size == 700_000 * 32
    return args


def test_the_kubernetes_job_names_its_pods_and_their_command_parses():
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "training.py"]
    check_flags(container["args"])

    assert (
        pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    )
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]

    env = {e["name"]: e.get("value", "2") for e in container["env"]}
    names = list(env)
    for name in re.findall(r"\$\((\w+)\)", env["TF_CONFIG"]):
        # Kubernetes fills in what stands above alone.
        assert names.index(name) < names.index("TF_CONFIG")
        env["TF_CONFIG"] = env["TF_CONFIG"].replace(f"$({name})", env[name])
    assert read_tf_config(env["TF_CONFIG"]) == (2, spec["completions"])
    port = container["ports"][0]["containerPort"]
    for index in range(spec["completions"]):
        address = f"{job['metadata']['name']}-{index}.{pod['subdomain']}:{port}"
        assert f'"{address}"' in env["WORKERS"]


def write_program(folder, name, *lines):
    path = folder / name
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_slurm_script_tells_each_task_who_it_is_and_comes_back_after_sigterm(tmp_path):
    """Run with stand-ins for Slurm's programs and python, on a node numbered 1."""
    script = FOLDER / "slurm.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    said = tmp_path / "said.txt"
    write_program(
        tmp_path,
        "scontrol",
        f'if [ "$1" = show ]; then printf "a1\\na2\\n"; else echo "$@" >> {said}; fi',
    )
    write_program(tmp_path, "srun", "shift", 'SLURM_NODEID=1 exec "$@"')
    write_program(tmp_path, "python", f'printf "%s\\n" "$TF_CONFIG" "$@" > {said}', "exit 143")
    env = {
        **{"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "a[1-2]"},
        **{"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "77"},
    }
    assert subprocess.run(["bash", script], env=env).returncode == 143
    tf_config, program, *flags, requeued = said.read_text().splitlines()
    assert '["a1:12345", "a2:12345"]' in tf_config.replace(",", ", ")
    assert read_tf_config(tf_config) == (1, 2)
    assert program == "training.py" and requeued == "requeue 77"
    args = check_flags(flags)
    nodes, gpus = (
        int(re.search(f"--{n}=(\\d+)", script.read_text())[1]) for n in ("nodes", "gpus-per-node")
    )
    assert args.batch_size % (nodes * gpus) == 0
