"""README and docs say what the repository does, with the figures of its records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.records.record import read_record
from benchmarks.report import BEGIN, END, tables
from refinenet.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORD = ROOT / "benchmarks/results/cpu.json"


def commands_of_the_demo() -> list[str]:
    lines = (ROOT / "demo/run.sh").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("run ") for line in lines if line.startswith("run refinenet")]


def test_the_commands_of_the_readme_are_those_of_the_demo() -> None:
    shown = [line for line in README.splitlines() if line.startswith("refinenet ")]
    assert shown == commands_of_the_demo()


def test_every_command_is_named() -> None:
    named = set(re.findall(r"`refinenet ([\w-]+)`(?:, `(\w+)`)?", README))
    assert {name for names in named for name in names if name} == COMMANDS.keys()


def test_the_table_comes_from_the_committed_record() -> None:
    table = README.split(BEGIN)[1].split(END)[0].strip()
    assert table == tables([read_record(RECORD)]).strip()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def camvid_table() -> str:
    """The table of docs/shipped-weights.md, from the two committed records."""
    results = ROOT / "benchmarks/results"
    evaluation = json.loads((results / "camvid-val.json").read_text(encoding="utf-8"))
    stages = json.loads((results / "camvid-verify.json").read_text(encoding="utf-8"))["stages"]
    classes = [f"| {name} | {100 * iou:.1f} |" for name, iou in evaluation["iou"].items()]
    summary = [
        f"| **mIoU** | **{100 * evaluation['miou']:.2f}** |",
        f"| pixel accuracy | {100 * evaluation['pixel_accuracy']:.2f} |",
    ]
    precisions = [
        f"| {stage['name']} | {100 * stage['measures']['miou']:.2f} "
        f"| {100 * stage['measures']['pixel_agreement']:.2f} |"
        for stage in stages
        if stage["status"] == "passed"
    ]
    return "\n".join(
        [
            *("| class | IoU |", "|---|---:|", *classes, *summary, ""),
            *("| precision | mIoU | pixels equal to the stage before |", "|---|---:|---:|"),
            *precisions,
        ]
    )


def test_the_figures_of_the_shipped_weights_come_from_the_committed_records() -> None:
    text = (ROOT / "docs/shipped-weights.md").read_text(encoding="utf-8")
    shown = text.split("<!-- camvid:begin -->")[1].split("<!-- camvid:end -->")[0].strip()
    assert shown == camvid_table()


def sensitivity_table() -> str:
    """The table of docs/results/quantization.md: the layers that the rule leaves in FP16, and as
    many of the others, most sensitive first."""
    record = json.loads((ROOT / "benchmarks/results/sensitivity.json").read_text(encoding="utf-8"))
    by_rule = [layer for layer in record["layers"] if layer["by_rule"]]
    others = [layer for layer in record["layers"] if not layer["by_rule"]]
    shown = sorted((*by_rule, *others[:5]), key=lambda layer: -layer["scores_error"])
    rows = [
        f"| {layer['layer'].removeprefix('network.').removesuffix('.weight')} "
        f"| {'FP16' if layer['by_rule'] else 'INT8'} | {layer['scores_error']:.4f} "
        f"| {100 * layer['pixels_changed']:.2f} "
        f"| {round(layer['miou_loss_points'], 2) + 0.0:.2f} |"  # no minus before a zero
        for layer in shown
    ]
    head = "| layer | by rule | scores change by | pixels changed, % | mIoU lost, points |"
    return "\n".join([head, "|---|---|---:|---:|---:|", *rows])


def test_the_sensitivities_of_the_docs_come_from_the_committed_record() -> None:
    text = (ROOT / "docs/results/quantization.md").read_text(encoding="utf-8")
    shown = text.split("<!-- sensitivity:begin -->")[1].split("<!-- sensitivity:end -->")[0].strip()
    assert shown == sensitivity_table()


def scales_table() -> str:
    """The table of docs/results/quantization.md on one scale or many, from the record."""
    text = (ROOT / "benchmarks/results/int8-scales.json").read_text(encoding="utf-8")
    record, rows = json.loads(text), dict[str, str]()
    for made_for, entry in record.items():
        for cost in entry["estimated"]:
            network, precision = cost["engine"].removesuffix(".rtx.engine").rsplit(".", 1)
            key = f"| {network} | {precision}{', ' + made_for if precision == 'int8' else ''} "
            stage = entry["accuracy"]["stages"][precision]
            of_val = network == "lw-mobilenetv2-camvid"  # the one with trained weights
            low, high = cost["ms_on_rtx-4090"]
            rows[key] = (
                f"| {100 * stage['miou']:.2f} | {100 * stage['pixel_agreement']:.2f} "
                if of_val
                else "| | "
            ) + f"| {cost['kernels']} | {cost['megabytes']} | {low:.2f} to {high:.2f} |"
    head = (
        "| network | precision | mIoU, % | pixels equal to FP32, % | kernels | MB | ms, estimated |"
    )
    lines = [key + row for key, row in sorted(rows.items())]
    return "\n".join([head, "|---|---|---:|---:|---:|---:|---:|", *lines])


def test_the_scales_of_the_docs_come_from_the_committed_record() -> None:
    text = (ROOT / "docs/results/quantization.md").read_text(encoding="utf-8")
    shown = text.split("<!-- scales:begin -->")[1].split("<!-- scales:end -->")[0].strip()
    assert shown == scales_table()


def search_rows() -> list[str]:
    """The searches' rows there, from the cards of the files that they wrote."""
    rows = []
    for budget in ("1.0", "0.1"):
        record = ROOT / f"benchmarks/results/accuracy-loss-{budget}.json"
        details = json.loads(record.read_text(encoding="utf-8"))["card"]["details"]
        search, calibration = details["search"], details["calibration"]
        searched, reported = search["searched_on"], search["reported_on"]
        left = [name for name, why in calibration["left_in_fp16"].items() if "budget" in why]
        but = "".join(
            f", all but `{re.sub('network.|backbone.|.0.weight', '', name)}`" for name in left
        )
        rows.append(
            f"| {budget} | {searched['sets_tried']}, {searched['loss_points']:.2f} "
            f"| {calibration['quantized_convolutions']}{but} "
            f"| {100 * reported['fp32']:.2f}, {100 * reported['int8']:.2f} |"
        )
    return rows


@pytest.mark.parametrize("row", search_rows())
def test_the_searches_of_the_docs_come_from_the_committed_cards(row: str) -> None:
    assert row in (ROOT / "docs/results/quantization.md").read_text(encoding="utf-8")
