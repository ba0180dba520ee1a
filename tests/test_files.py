from pathlib import Path

import pytest

from job import files
from job.errors import UserError


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path):
    path = tmp_path / "table.csv"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_one_and_no_litter(tmp_path):
    folder = tmp_path / "site"
    with files.replacing_folder(folder) as temporary:
        (temporary / "index.html").write_text("old")
    with pytest.raises(RuntimeError), files.replacing_folder(folder) as temporary:
        (temporary / "index.html").write_text("half")
        raise RuntimeError
    assert (folder / "index.html").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "site"
    for name in ("first", "second"):
        with files.replacing_folder(folder) as temporary:
            (temporary / name).write_text(name)
    assert [path.name for path in folder.iterdir()] == ["second"]


@pytest.mark.parametrize("error", [OSError("no room"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_folder_returns_where_two_renames_are_needed_and_one_fails(tmp_path, monkeypatch, error, failing):
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("old")
    renames = []

    def rename(path, target):
        renames.append(path)
        if len(renames) == failing:
            raise error
        path.rename(target)

    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(type(error)), files.replacing_folder(folder) as temporary:
        (temporary / "index.html").write_text("new")
    assert (folder / "index.html").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_two_renames_do_where_folders_cannot_change_places(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    test_a_folder_is_replaced_as_a_whole(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    leftover = tmp_path / ".site.4711.new.tmp"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    with files.replacing_folder(tmp_path / "site") as temporary:
        (temporary / "index.html").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_missing_input_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"summary\.json does not exist: run `dvc repro`"):
        files.read_json(tmp_path / "summary.json")


def test_json_without_a_value_for_not_a_number(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert not (tmp_path / "x.json").exists()
