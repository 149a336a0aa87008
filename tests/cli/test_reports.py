import json
import re

import pytest


@pytest.mark.parametrize("with_scan", [False, True])
def test_report_of_a_map(run, work, tmp_path, with_scan):
    scan = ("--scan", work / "scan.hspy", "--points", 1) if with_scan else ()
    out = tmp_path / "r.html"
    done = run("report", work / "t.h5", *scan, "--out", out)
    assert done.code == 0, done.err
    assert done.out == f"Report in {out}\n"
    data = json.loads(re.search(r'id="data">(.*?)</script>', out.read_text(), re.DOTALL)[1])
    assert data["shape"] == [8, 10]
    assert [one["name"] for one in data["maps"]] == ["t.h5"]
    assert (data["patterns"] is not None) == with_scan


def test_report_refuses_before_it_works(fails, work, tmp_path):
    fails("ends in .html", "report", work / "t.h5", "--out", tmp_path / "r.pdf")
    fails("No map at", "report", work / "none.h5", "--out", tmp_path / "r.html")
    fails("give --crystal", "report", work / "n.ang", "--scan", work / "scan.hspy",
          "--out", tmp_path / "r.html")  # fmt: skip
    assert not any(tmp_path.iterdir())
