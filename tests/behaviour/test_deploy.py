"""The files of deploy/ fit the project: what they copy is there, what they call takes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from export.serving.instructions import NEWEST

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.rglob("Dockerfile*"))
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "triton/compose.yaml").read_text())
    return content


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_a_dockerfile_copies_what_is_there(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (.+) \S+$", text, re.M)
    names = [name for line in copied for name in line.split()]
    assert {"refinenet", "export", "runtime", "benchmarks", "setup.py"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []
    assert "Not built yet" in text
    assert f"-f {file.relative_to(ROOT)} ." in text


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_a_dockerfile_installs_extras_that_exist(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = [*re.findall(r"EXTRAS=([\w,]+)", text), *re.findall(r"/src\[([\w,]+)\]", text)]
    extras = {extra for names in named for extra in names.split(",")}
    assert extras
    assert {extra for extra in extras if f'"{extra}":' not in SETUP} == set()


def test_the_images_are_of_one_release() -> None:
    assert f"ARG TAG={NEWEST}\n" in (DEPLOY / "triton/Dockerfile").read_text()


def test_compose_probes_by_a_mask_and_opens_no_port_to_others() -> None:
    services = compose()["services"]
    triton = services["triton"]
    build = triton["build"]
    assert (DEPLOY / "triton" / build["context"] / build["dockerfile"]).is_file()
    assert "COPY deploy/triton/probe.py /opt/probe.py" in (DEPLOY / "triton/Dockerfile").read_text()
    assert triton["healthcheck"]["test"][:3] == ["CMD", "python3", "/opt/probe.py"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_scrapes_the_port_of_the_metrics() -> None:
    mounted = compose()["services"]["prometheus"]["volumes"][0].partition(":")[0]
    config = yaml.safe_load((DEPLOY / "triton" / mounted).read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["triton:8002"]}]
