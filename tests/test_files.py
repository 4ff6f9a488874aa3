"""Files are there whole or not at all: after an error, a full disk, a power cut."""

import errno
import os

import pytest

from skillhier import files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_and_its_name_are_synced_before_it_counts(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    monkeypatch.setattr(os, "rename", lambda old, new: (done.append("renamed"), rename(old, new)))
    files.write_text(tmp_path / "a", "whole")
    assert done == [str(tmp_path / "a.part"), "renamed", str(tmp_path)]


def test_a_folder_is_synced_with_all_that_is_in_it(tmp_path, monkeypatch):
    done = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    with files.draft(tmp_path / "new") as part:
        (part / "in" / "deep").mkdir(parents=True)
        (part / "in" / "deep" / "file").touch()
    inside = ["in/deep/file", "in/deep", "in"]
    assert done == [*(str(tmp_path / "new.part" / name) for name in inside), str(tmp_path / "new.part"), str(tmp_path)]
    assert (tmp_path / "new" / "in" / "deep" / "file").is_file()


@pytest.mark.parametrize("how", ["raised", "full"])
def test_after_an_error_the_former_file_is_left_and_no_draft(tmp_path, monkeypatch, how):
    path = tmp_path / "a.json"
    files.write_json(path, {"now": 1})
    if how == "raised":
        with pytest.raises(TypeError):
            files.write_json(path, {"now": object()})
    else:

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            files.write_json(path, {"now": 2})
        assert caught.value.filename == str(path) and caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == ["a.json"] and '"now": 1' in path.read_text()


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
    (tmp_path / "a.part").mkdir()
    (tmp_path / "a.part" / "half").touch()
    files.write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "whole"


def test_every_flipped_byte_of_a_sealed_file_is_noticed(tmp_path):
    path, content = tmp_path / "a.json", {"rows": [1, 2.5, None], "name": "drei"}
    files.write_sealed(path, content)
    data = path.read_bytes()
    assert files.unseal(data) == content
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                assert files.unseal(bytes(changed)) == content  # white space that became other white space
            except ValueError:
                continue
            assert bytes((data[at], changed[at])).isspace()
    for at in range(len(data)):
        with pytest.raises(ValueError):
            files.unseal(data[:at])


def test_room_is_asked_for_before_it_is_taken(tmp_path, monkeypatch):
    files.require_room(tmp_path, 2**16), files.reserve(tmp_path, 2**16)
    with pytest.raises(OSError, match="No space left"):
        files.require_room(tmp_path, 2**60)

    def full(handle, offset, size):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="quota"):
        files.reserve(tmp_path, 2**16)
    assert names(tmp_path) == []
