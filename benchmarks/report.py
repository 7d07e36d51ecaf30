"""`python -m benchmarks.report`: renders the results into the pages in docs and the plots in docs/plots.

What is rendered stands between two comments in a page, the first of which names it: `<!-- measured: unary -->`.
"""

import re
from pathlib import Path

from benchmarks.report_plots import PLOTS
from benchmarks.report_tables import TABLES, figures
from benchmarks.results import Result

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = (DOCS / "performance.md", DOCS / "scaling.md")
_BLOCK = re.compile(r"(?P<begin><!-- measured: (?P<name>[\w ]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def main() -> None:
    for path, text in {**rendered_pages(), **plots()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def rendered_pages() -> dict[Path, str]:
    """The pages as they should be."""
    return {page: _BLOCK.sub(_rendered, page.read_text()) for page in PAGES}


def _rendered(block: re.Match[str]) -> str:
    name = block["name"]
    suite = name.split()[0]
    if not Result.is_there("peers" if suite == "scaling" else suite):
        return f"{block['begin']}Not measured yet.\n{block['end']}"
    text = TABLES[name]() if name in TABLES else figures(Result.read(name))
    return f"{block['begin']}{text}\n{block['end']}"


def plots() -> dict[Path, str]:
    there = {name: draw for name, draw in PLOTS.items() if Result.is_there(name.partition("-")[0])}
    return {DOCS / "plots" / f"{name}.svg": draw() for name, draw in there.items()}


if __name__ == "__main__":
    main()
