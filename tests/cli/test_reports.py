import json
import re

import pytest

from zoneaxis.scans.orientation_map import OrientationMap


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


def test_a_map_of_a_part_is_shown_beside_that_part(run, fails, work, tmp_path):
    crop = ("--scan", work / "scan.hspy", "--crop", *"1537", "--bin", 2)
    OrientationMap.load(work / "t.h5")[1:5, 3:7].save(tmp_path / "part.h5")
    arguments = "report", tmp_path / "part.h5", "--points", 0, "--out", tmp_path / "r.html"
    done = run(*arguments, *crop)
    assert done.code == 0, done.err
    fails("give the scan that the map was made from", *arguments, "--scan", work / "scan.hspy")
    arguments = "compare", tmp_path / "part.h5", tmp_path / "part.h5"
    done = run(*arguments, "--out", tmp_path / "c.html", *crop)
    assert done.code == 0, done.err
