"""The page: whole without a network, red where it must be, and nothing in a record is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks.page.charts import Mark, Scale, scale_for, scatter, shortened
from benchmarks.page.page import html_page
from benchmarks.page.plots import pareto_front
from benchmarks.pictures import Picture, Pictures, pictures_path, read_pictures, write_pictures
from benchmarks.records.machine import JetsonState
from benchmarks.records.measurements import Accuracy, Agreement, LayerTime, Peak, Phases, Roofline
from benchmarks.records.record import Record, write_record
from benchmarks.report_command import report
from benchmarks.rows import rows
from runtime.errors import InputError

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror='a(\"1\")'>&amp;\u202e\ud800"


class Page(HTMLParser):
    """The tags with their attributes, and the text, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def pictures() -> Pictures:
    frame = np.full((24, 32, 3), 90, np.uint8)
    expected, wrong = np.zeros((24, 32), np.uint8), np.zeros((24, 32), np.uint8)
    wrong[4:6, 7:10] = 1
    palette = np.array([[0, 0, 255], [0, 255, 0]], np.uint8)
    return Pictures(palette, (Picture(frame, {"A": expected, "B": wrong}),))


@pytest.fixture
def full(record: Record) -> Record:
    """With everything that a page can show."""
    layers = (LayerTime("Conv a", 3.0, 10**8, 10**6), LayerTime("Resize b", 1.0, 0, 10**6))
    onnx = replace(record.results[1], roofline=Roofline(10**8, 10**6, 2.5, 0.5, layers))
    results = (record.results[0], onnx, record.results[2])
    return replace(record, results=results, peaks=(Peak("cpu", "fp32", 5e10, 1e10),))


def test_the_page_needs_no_network_and_no_script(full: Record, pictures: Pictures) -> None:
    html = html_page([full], [pictures])
    page = Page(html)
    sources = [a[name] for _, a in page.tags for name in ("src", "href", "srcset") if name in a]
    assert sources
    assert all(source and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not page.attributes("script")
    assert not page.attributes("link")
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert not re.search(r"url\(|@import|//[a-z]", html)
    (policy,) = [a["content"] for a in page.attributes("meta") if "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_a_planted_accuracy_fault_is_red(record: Record) -> None:
    wrong = replace(record.results[1], accuracies=(Accuracy(360, 480, Agreement(97, 100), None),))
    spoilt = Page(html_page([replace(record, results=(record.results[0], wrong))], [None]))
    sound = Page(html_page([record], [None]))
    for page, count in ((spoilt, 1), (sound, 0)):
        red = [attributes for attributes in page.attributes("tr") if attributes.get("class")]
        assert [row["class"] for row in red] == ["failed"] * count
        assert page.text.count("✗ FAILED") == count
        assert ("97.000 %" in page.text) == ("98.00 %" in page.text) == (count == 1)


def test_strings_of_a_record_never_become_markup(full: Record, pictures: Pictures) -> None:
    environment = replace(full.environment, cpu=HOSTILE, versions={HOSTILE: HOSTILE})
    asked = replace(full.conditions, images=(HOSTILE,), classes=(HOSTILE, "road"), labels=HOSTILE)
    results = tuple(
        replace(result, name=f"{HOSTILE}{index}", precision=HOSTILE, file=HOSTILE)
        for index, result in enumerate(full.results)
    )
    hostile = replace(
        full, command=HOSTILE, conditions=asked, environment=environment, results=results
    )
    html = html_page([hostile], [pictures])
    page, plain = Page(html), Page(html_page([full], [pictures]))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in html
    html.encode("utf-8")


def test_every_chart_and_picture_has_words_for_it(full: Record, pictures: Pictures) -> None:
    page = Page(html_page([full], [pictures]))
    assert len(page.attributes("svg")) == 5  # no Pareto front of a single mIoU, but a mark
    assert all(a.get("role") == "img" and a.get("aria-label") for a in page.attributes("svg"))
    assert len(page.attributes("img")) == 3
    assert all(a.get("alt") for a in page.attributes("img"))
    assert "6 of 768 pixels differ" in page.text


def test_what_did_not_run_is_there_with_its_reason(record: Record) -> None:
    text = Page(html_page([record], [None])).text
    assert "NOT RUN: TensorRT-RTX fp16: this machine has no GPU | see refinenet doctor" in text


def test_the_latency_of_several_frames_is_said_of_the_query(record: Record) -> None:
    assert "5 ms a frame, 200 frames/s" in Page(html_page([record], [None])).text
    four = replace(record.results[1].measurements[0], scenario="multi", frames_per_query=4)
    multi = replace(record, results=(replace(record.results[1], measurements=(four,)),))
    text = Page(html_page([multi], [None])).text
    assert "5 ms a query of 4 frames, 800 frames/s" in text


def test_a_failed_backend_is_red_wherever_its_letter_stands(
    record: Record, pictures: Pictures
) -> None:
    wrong = Accuracy(360, 480, Agreement(97, 100), 0.5, (0.6, 0.4))
    spoilt = replace(record.results[1], accuracies=(wrong,))
    html = html_page([replace(record, results=(record.results[0], spoilt))], [pictures])
    kinds = set(re.findall(r'<span class="key (\w+)"><b>B</b>', html))
    assert kinds == {"failed"}
    assert html.count('<span class="key failed">') == 4  # table, IoU, picture, memory


def test_a_long_name_is_shortened_beside_a_figure(record: Record) -> None:
    name = "a-project-with-a-name-of-its-own-" * 4 + "fp16"
    long = replace(record.results[1], name=name)
    html = html_page([replace(record, results=(record.results[0], long))], [None])
    (label,) = re.findall(r'class="label"[^>]*>(B [^<]*)<', html)
    assert len(label) == 50
    assert (label[:12], label[-9:]) == ("B  a-project", "fp16 int8")
    assert shortened("short") == "short"


def test_an_engines_phases_are_in_trtexecs_terms(record: Record) -> None:
    torch, onnx, _ = record.results
    busy = replace(torch, phases=Phases((0.9,), (0.25,), (1.0,), (0.125,)))
    quiet = replace(onnx, phases=Phases((0.1,), (0.25,), (2.0,), (0.125,)))
    html = html_page([replace(record, results=(busy, quiet))], [None])
    assert '<td>1.375</td><td><span class="fault">0.9</span></td><td>0.25</td>' in html
    assert "<td>2.375</td><td>0.1</td><td>0.25</td><td>2</td><td>0.125</td>" in html
    assert "trtexec's terms" not in html_page([record], [None])


def test_a_jetsons_state_is_said_before_and_after(record: Record) -> None:
    state = JetsonState(0.45, 1007.0, None, None, {"VDD_GPU_SOC": 2.4}, {"gpu": 51.5}, "MAXN")
    jetson = replace(record, before=replace(record.before, jetson=state))
    said = "Jetson before: power mode MAXN, GPU MHz 1007, memory MHz -, VDD_GPU_SOC W 2.4, gpu °C"
    assert said in Page(html_page([jetson], [None])).text


def test_nothing_measured_is_still_a_page(record: Record) -> None:
    alone = replace(record, results=record.results[2:])
    assert "NOT RUN" in Page(html_page([alone], [None])).text


def test_the_command_writes_the_page_with_the_pictures_beside_the_record(
    tmp_path: Path, record: Record, pictures: Pictures
) -> None:
    path = tmp_path / "a.json"
    write_record(path, record)
    write_pictures(pictures_path(path), pictures, record.before.utc)
    assert report([str(path), "--html", str(tmp_path / "a.html")]) == 0
    assert "data:image/jpeg" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_pictures_of_another_record_are_refused(
    tmp_path: Path, record: Record, pictures: Pictures
) -> None:
    path = tmp_path / "a.pictures.npz"
    write_pictures(path, pictures, "2020-01-01T00:00:00+00:00")
    with pytest.raises(InputError, match=r"2020-01-01.*--pictures"):
        read_pictures(path, record)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut short"])
def test_damaged_pictures_are_refused(tmp_path: Path, record: Record, content: bytes) -> None:
    path = tmp_path / "a.pictures.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="measure anew with --pictures"):
        read_pictures(path, record)


def test_pictures_of_other_shapes_are_refused(
    tmp_path: Path, record: Record, pictures: Pictures
) -> None:
    path = tmp_path / "a.pictures.npz"
    frame = pictures.pictures[0].frame
    odd = Pictures(pictures.palette, (Picture(frame, {"A": np.zeros((3, 32), np.uint8)}),))
    write_pictures(path, odd, record.before.utc)
    with pytest.raises(InputError, match="another size than their frame"):
        read_pictures(path, record)


def test_the_pareto_front_leaves_out_what_is_beaten_and_what_fails(record: Record) -> None:
    torch, onnx, _ = record.results
    accuracy = Accuracy(360, 480, Agreement(99, 100), 0.65)
    good = replace(onnx, name="good", accuracies=(accuracy,))
    beaten = replace(good, name="beaten", measurements=torch.measurements)
    wrong = replace(good, name="wrong", accuracies=(replace(accuracy, mean_iou=0.5),))
    found = pareto_front(rows(replace(record, results=(torch, good, beaten, wrong))))
    assert [row.name for row in found] == ["PyTorch eager", "good"]


def test_ticks_are_round_and_within_the_scale() -> None:
    assert Scale(0.0, 10.0, 0.0, 1.0).ticks() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert Scale(3.0, 130.0, 0.0, 1.0, logarithmic=True).ticks() == [5.0, 10.0, 20.0, 50.0, 100.0]


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1.0, 1000.0], [66.9, 67.1]])
def test_every_value_lies_within_its_scale(values: list[float]) -> None:
    scale = scale_for(values, 0.0, 100.0)
    assert all(0 <= scale(value) <= 100 for value in values)


def test_marks_at_one_place_do_not_cover_each_other() -> None:
    marks = [Mark(1.0, 1.0, letter, "torch", "") for letter in "ABCD"]
    circles = [
        (float(c.attrib["cx"]), float(c.attrib["cy"]))
        for c in scatter(marks, ("x", "y"), "four").iter("circle")
        if c.attrib["r"] == "9"
    ]
    assert len(set(circles)) == len(circles) == 4
