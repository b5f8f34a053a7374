"""The report's parts: what was found, code folded and not missing, figures in words, tables without row numbers."""

import re

import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from sstlib import paths
from sstlib.plots import save
from sstlib.plots.connectivity import key_bars
from sstlib.reproduction import found, report


def test_tables_have_no_row_numbers_and_no_nan():
    frame = pd.DataFrame({"method": ["A", "B"], "J": [0.5, float("nan")]})
    table = report.plain(frame.to_html())
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", table) == ["method", "J", "A", "0.5", "B", "–"]
    named = frame.set_index("method").to_html()
    assert re.findall(r"<t[hd]>(.*?)</t[hd]>", report.plain(named)).count("A") == 1
    rows = re.findall(r"<tr.*?</tr>", report.plain(named), re.DOTALL)
    assert [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows] == [["method", "J"], ["A", "0.5"], ["B", "–"]]
    two = frame.assign(F=1).set_index(["method", "J"]).to_html()
    assert report.plain(two).count("<tr") == two.count("<tr"), "an index of two names has its own row"
    later = frame.set_axis([3, 4]).to_html()
    assert "<th>3</th>" in report.plain(later), "numbers that do not count the rows say something"


@pytest.fixture
def body():
    picture = new_output("display_data", {"image/png": "AAAA", "text/plain": "<Drawing>"},
                         metadata={"image/png": {"alt": "A line that rises"}})
    cells = [new_markdown_cell("# 01 Two: does it run?\n\n$$x = 1 \\tag{7}$$\n\nSee [two](02_other.ipynb) and "
                               "[part](#part).\n\n<h2 id='part'>Part</h2>"),
             new_code_cell("print('shown')", outputs=[new_output("stream", text="shown\n"), picture])]
    return report.body_of(new_notebook(cells=cells), "01_two")


def test_code_is_folded_and_not_missing(body):
    folded = re.search(r'<details class="code"><summary>Code</summary>(.*?)</details>', body, re.DOTALL)[1]
    assert "print" in folded and "shown" in folded
    assert "In&nbsp;" not in body and "In [" not in body


def test_figures_are_described_formulas_numbered_and_headings_found(body):
    assert 'alt="A line that rises"' in body
    assert re.search(r"<span class=.number.>\(7\)", body) and "tag" not in re.sub(r"<[^>]*>", "", body)
    assert 'id="01_two-part"' in body and 'href="#01_two-part"' in body and 'href="#02_other"' in body


def test_what_was_found_stands_first_with_its_numbers_and_figures():
    findings = list(found.findings())
    assert [finding.figure for finding, _ in findings] == [finding.figure for finding in found.FINDINGS]
    page = found.front({"01_connectivity": "01 Connectivity"})
    assert page.count("<figure>") == page.count("src='data:image/png;base64,") == page.count("alt=") == 5
    assert all(re.search(r"\*\*[^*]*\d[^*]*\*\*", sentence) for _, sentence in findings), "a number each"
    assert "<a href='#01_connectivity'>01 Connectivity</a>" in page and "href='#07" not in page


def test_a_figure_is_described_by_its_file(tmp_path):
    drawing = key_bars({"Grid": 134.0}, 32768)
    assert found.described(save(drawing, "keys", tmp_path)) == drawing.description


def test_without_records_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    assert found.front({}) == ""


def test_an_explorer_is_written_beside_the_report(tmp_path, monkeypatch):
    for name in ("NOTEBOOKS", "TABLES", "FIGURES", "EXECUTED", "REPORT"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr("sstlib.weights.released", list)
    page = report.write([], [])
    explorer = (page.parent / "explorer.html").read_text()
    assert 'data-explorer="patterns"' in explorer and "explorer.html" in page.read_text()
    assert re.search(r"; 0\.\d MB\. To explore", page.read_text()), "its size is said"


def test_tables_are_folded_and_link_to_their_files(tmp_path, monkeypatch):
    """Open, they were a seventh of the page, beneath all that one reads."""
    for name in ("NOTEBOOKS", "TABLES", "FIGURES", "EXECUTED", "REPORT"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr("sstlib.weights.released", list)
    paths.TABLES.mkdir()
    (paths.TABLES / "scores.md").write_text("| method | J |\n| --- | --- |\n| SST | 81.5 |\n")
    page = report.write([], []).read_text()
    folded = re.search(r"<details><summary>scores</summary>(.*?)</details>", page, re.DOTALL)[1]
    assert "<td>81.5</td>" in folded and "../tables/scores.csv" in folded
