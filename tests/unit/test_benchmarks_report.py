"""Results are what was printed, and the pages and plots are what the results say."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as main
from benchmarks import report, results, svg
from benchmarks.figures import Figure, print_lines
from benchmarks.report_tables import figures, table
from benchmarks.results import Kept, Result, listening

STALE = "rendered from other results than are there: run `python -m benchmarks.report`"


def test_pages_say_what_the_results_say() -> None:
    for page, text in report.rendered_pages().items():
        assert page.read_text() == text, f"{page.name} was {STALE}"


def test_plots_show_what_the_results_say() -> None:
    drawn = report.plots()
    assert sorted(drawn) == sorted((report.DOCS / "plots").glob("*.svg"))
    for path, text in drawn.items():
        assert path.read_text() == text, f"{path.name} was {STALE}"


def test_every_plot_is_shown_and_every_suite_is_told() -> None:
    page = (report.DOCS / "performance.md").read_text()
    assert [path.name for path in report.plots() if f"(plots/{path.name})" not in page] == []
    suites = [path.stem for path in results.FOLDER.iterdir()]
    assert [suite for suite in suites if f"<!-- measured: {suite} -->" not in page] == []


# --- results --------------------------------------------------------------------------------------------------------


def test_a_result_is_what_was_printed() -> None:
    with listening() as printed:
        print_lines([("CPU", "a slow one, 2 cores"), ("pg_featureserv", "v1.3.1")])
        print(Figure("unary 16 callers / TiPg", 4.256, "4", "850 against 200"))
        print("16 clients, default retries: 10/s")
        print(Figure("unary 99 %: tail", 12.0, "<= 3", "a: b (c)"))
    result = Result.of("unary", printed.getvalue(), None)
    assert result.setting == {"CPU": "a slow one, 2 cores", "pg_featureserv": "v1.3.1"}
    assert result.figures == [
        Kept("unary 16 callers / TiPg", 4.26, "4", "850 against 200"),
        Kept("unary 99 %: tail", 12.0, "<= 3", "a: b (c)"),
    ]


def test_a_result_comes_back_as_it_was_kept_to_four_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert not Result.is_there("peers")
    Result(
        "peers", "2026-11-21", "make bench", {"CPU": "x"}, [Kept("a", 1.5, "1", "b")], {"rows": [{"r": 1234.5678}]}
    ).write()
    kept = Result(
        "peers", "2026-11-21", "make bench", {"CPU": "x"}, [Kept("a", 1.5, "1", "b")], {"rows": [{"r": 1235.0}]}
    )
    assert Result.is_there("peers")
    assert Result.read("peers") == kept


def test_a_suite_that_fails_says_why_and_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rendered: list[str] = []
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(report, "main", lambda: rendered.append("now"))

    def fails() -> None:
        raise RuntimeError("no such place")

    def runs() -> None:
        print(Figure("bulk a / b", 0.5, "1", "c"))

    monkeypatch.setattr(main, "SUITES", {"unary": fails, "bulk": runs})
    monkeypatch.setattr("sys.argv", ["benchmarks", "--save"])
    with pytest.raises(SystemExit, match=r"^not measured: unary; why is said above$"):
        main.main()
    assert "RuntimeError: no such place" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["bulk.json"]
    assert rendered == ["now"]


def test_figures_are_a_table_without_the_name_of_their_suite() -> None:
    rows = [Kept("unary 16 callers / TiPg", 4.256, "4", ""), Kept("unary memory, MiB", 41.2, "<= 64", "")]
    text = figures(Result("unary", "2026-11-21", "make bench ONLY=unary", {"CPU": "x"}, rows))
    assert text.splitlines() == [
        "| figure | measured | goal |",
        "|---|---|---|",
        "| 16 callers / TiPg | 4.26 | 4 |",
        "| memory, MiB | 41 | <= 64 |",
        "",
        "2026-11-21, `make bench ONLY=unary`. CPU: x.",
    ]


def test_a_table_without_rows_has_its_head() -> None:
    assert table(("a", "b"), []) == "| a | b |\n|---|---|"


# --- plots ----------------------------------------------------------------------------------------------------------


def parsed(image: str) -> ElementTree.Element:
    return ElementTree.fromstring(image)


def named(image: str, tag: str) -> list[ElementTree.Element]:
    return parsed(image).findall(f"{{http://www.w3.org/2000/svg}}{tag}")


def test_a_line_goes_through_its_points_from_left_to_right_and_upwards() -> None:
    image = svg.lines("a < b", "callers", {"service": [(1, 10.0), (16, 100.0)], "pgbench": [(1, 20.0), (16, 20.0)]})
    rising, level = (
        [tuple(map(float, xy.split(","))) for xy in each.attrib["points"].split()] for each in named(image, "polyline")
    )
    assert rising[0][0] == level[0][0] < rising[1][0] == level[1][0]
    assert rising[0][1] > level[0][1] == level[1][1] > rising[1][1]
    assert {"a < b", "service", "pgbench", "callers"} <= {text.text for text in named(image, "text")}


def test_a_dashed_line_has_the_colour_of_what_it_belongs_to() -> None:
    series = {"service": [(1, 1.0)], "peer": [(1, 2.0)], "service, box": [(1, 3.0)]}
    service, peer, box = named(svg.lines("t", "x", series, dashed={"service, box": "service"}), "polyline")
    assert box.attrib["stroke"] == service.attrib["stroke"] != peer.attrib["stroke"]
    assert [each.attrib["class"] for each in (service, peer, box)] == ["line", "line", "line dashed"]


def test_bars_stand_on_each_other_and_are_as_high_as_their_values() -> None:
    image = svg.bars("CPU", ("server", "database"), {"service, 1 worker": (1.0, 0.5), "pgbench": (0.0, 0.75)})
    heights = [float(rect.attrib["height"]) for rect in named(image, "rect")][:4]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[2] == 0
    assert heights[3] == pytest.approx(1.5 * heights[1], abs=0.2)


@pytest.mark.parametrize(
    ("values", "logarithmic", "marks"),
    [
        pytest.param([1, 16, 64], True, [1, 10, 100], id="whole decades"),
        pytest.param([0.2, 0.9], True, [0.1, 1], id="below one"),
        pytest.param([100], True, [100, 1000], id="a single power of ten"),
        pytest.param([3, 42], False, [0, 10, 20, 30, 40, 50], id="tens"),
        pytest.param([0.7], False, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], id="tenths"),
    ],
)
def test_marks_are_round_numbers_that_span_the_values(
    values: list[float], logarithmic: bool, marks: list[float]
) -> None:
    axis = svg.Axis.over(values, 0, 100, logarithmic=logarithmic)
    assert axis.marks() == pytest.approx(marks)
    assert (axis.place(marks[0]), axis.place(marks[-1])) == pytest.approx((0, 100))
    assert all(0 <= axis.place(value) <= 100 for value in values)


def test_plots_read_on_a_dark_page_as_on_a_light_one() -> None:
    assert "prefers-color-scheme: dark" in svg.lines("t", "x", {"a": [(1, 1.0), (2, 2.0)]})
