"""Figures of a suite whose file was edited after it was measured are not shown as that file's."""

import hashlib
import json
from pathlib import Path

from cai.report.material import read_material


def test_a_suite_s_file_that_was_edited_is_told(tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"prompt": "Hi", "better": "Hello.", "worse": "Go away."}\n')
    entry = {"data": str(data), "sha256": hashlib.sha256(data.read_bytes()).hexdigest(), "notes": ["1 pair"]}
    (tmp_path / "config.yaml").write_text("{}\n")
    (tmp_path / "suites.json").write_text(json.dumps({"hhh": entry, "bbq": {"notes": []}}))
    assert read_material(tmp_path).about("hhh") == "1 pair"
    data.write_text(data.read_text() * 2)
    assert read_material(tmp_path).about("hhh").endswith("the file has been changed since")
    assert read_material(tmp_path).about("bbq") == ""
    data.unlink()  # nothing is known of a file that is not here
    assert read_material(tmp_path).about("hhh") == "1 pair"
