"""What users' copies hold: every kind of bad file is refused with its reason, none stops the job without a sentence."""

import csv
import io
import os
import shutil
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from job.data import cnmc, images, tree
from job.data.prepare import prepare
from job.errors import UserError
from tests.fixtures import cells
from tests.fixtures.parameters import data

ALL = "training_data/fold_0/all/"
PRELIMINARY = cells.PRELIMINARY.as_posix() + "/"
LABELS = cells.PRELIMINARY.as_posix() + "_labels.csv"
PICTURE = cells.disc(77)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def with_hole_in(content: bytes, value: int = 0) -> bytes:
    """A tenth of the file overwritten, behind its middle; its end is there."""
    start, length = len(content) // 2, len(content) // 10
    return content[:start] + bytes([value]) * length + content[start + length :]


def tiff(bits: int, *, resolutions: int = 1, planes: bool = False) -> bytes:
    """An uncompressed TIFF of PICTURE, which Pillow cannot write: with planes of one colour each, with an odd tag."""
    pixels = np.asarray(PICTURE).astype(f"<u{bits // 8}") * (257 if bits == 16 else 1)
    values = (pixels.transpose(2, 0, 1) if planes else pixels).tobytes()
    parts = 3 if planes else 1
    tags = [(256, 3, [40]), (257, 3, [40]), (258, 3, [bits] * 3), (259, 3, [1]), (262, 3, [2]), (273, 4, None),
            (277, 3, [3]), (278, 3, [40]), (279, 4, [len(values) // parts] * parts),
            (282, 5, [72, 1] * resolutions), (284, 3, [2 if planes else 1])]  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, kind, given in tags:
        numbers = given or [1000 + len(values) // parts * part for part in range(parts)]
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        count = len(numbers) // (2 if kind == 5 else 1)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", behind + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + extra
    return head.ljust(1000, b"\0") + values


BMP, PNG, JPEG, TIFF = (encoded(PICTURE, kind) for kind in ("BMP", "PNG", "JPEG", "TIFF"))
LARGE = PICTURE.resize((200, 200))
LARGE_JPEG = encoded(LARGE, "JPEG")


def patched(content: bytes, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(form, changed, offset, *values)
    return bytes(changed)


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG of 16 bits per channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = b"".join(b"\0" + bytes(range(40)) * 2 * channels for _ in range(40))
    header = struct.pack(">IIBBBBB", 40, 40, 16, kind, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bomb_png(side: int) -> bytes:
    """Rows of zeros that inflate to side x side pixels."""
    return patched(encoded(Image.new("1", (side, side)), "PNG"), 0, "B", 0x89)


def with_hole(mode: str) -> Image.Image:
    image = PICTURE.convert("RGBA")
    image.putpixel((3, 3), (9, 9, 9, 0))
    return image.convert(mode)


FLOAT = Image.fromarray(np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40))
CONTENT = {
    "empty": ("bmp", b"", "empty file"),
    "text": ("bmp", b"hello", "not an image"),
    "html": ("jpg", b"<!doctype html><title>404</title>" + b" " * 500, "not an image"),
    "zeros": ("png", bytes(5000), "not an image"),
    "zip": ("png", b"PK\x03\x04" + bytes(400), "not an image"),
    "git lfs pointer": ("bmp", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "not an image"),
    "gif": ("bmp", encoded(PICTURE.convert("P"), "GIF"), "not an image"),
    "webp": ("png", encoded(PICTURE, "WEBP"), "not an image"),
    "postscript": ("tif", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "bmp cut in its header": ("bmp", BMP[:40], "truncated"),
    "bmp cut in its pixels": ("bmp", BMP[:400], "truncated"),
    "bmp without its last byte": ("bmp", BMP[:-1], "truncated"),
    "png cut in its pixels": ("png", PNG[: len(PNG) // 2], "truncated"),
    "png without its end": ("png", PNG[:-20], "truncated"),
    "jpeg cut in its pixels": ("jpg", JPEG[: len(JPEG) // 2], "truncated"),
    "jpeg with a hole": ("jpg", with_hole_in(LARGE_JPEG), "truncated"),
    "jpeg without its middle": ("jpg", LARGE_JPEG[:3000] + LARGE_JPEG[-1000:], "truncated"),
    "mpo with a hole": ("jpg", with_hole_in(encoded(LARGE, "MPO")), "truncated"),
    "progressive jpeg with a hole": ("jpg", with_hole_in(encoded(LARGE, "JPEG", progressive=True)), "unreadable"),
    "tiff of jpegs with a hole": ("tif", with_hole_in(encoded(LARGE, "TIFF", compression="jpeg")), "truncated"),
    "tiff with a wrong checksum": (
        "tif", with_hole_in(encoded(LARGE, "TIFF", compression="tiff_adobe_deflate"), 255), "unreadable",
    ),
    "jpeg whose orientation is cut off": ("jpg", encoded(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0"),
                                          "unreadable: Corrupt EXIF data"),
    "tiff cut in its pixels": ("tiff", TIFF[: len(TIFF) // 2], "truncated"),
    "tiff cut in its header": ("tif", TIFF[:20], "unreadable"),
    "png with a broken checksum": ("png", patched(PNG, 60, "B", PNG[60] ^ 255), "unreadable"),
    "bmp of an unknown depth": ("bmp", patched(BMP, 28, "<H", 77), "unreadable"),
    "bmp higher in its header": ("bmp", patched(BMP, 22, "<i", 60), "truncated"),
    "bmp lower in its header": ("bmp", patched(BMP, 22, "<i", 10), "wrong size for its header"),
    "bmp with another file behind": ("bmp", BMP + BMP, "wrong size for its header"),
    "bmp of no width": ("bmp", patched(BMP, 18, "<i", 0), "not an image"),
    "bomb by its header": ("bmp", patched(BMP, 18, "<ii", 60_000, 60_000), "decompression bomb"),
    "bomb that Pillow would warn of": ("bmp", patched(BMP, 18, "<ii", 10_000, 10_000), "decompression bomb"),
    "bomb that inflates": ("png", bomb_png(4200), "decompression bomb"),
    "16-bit grey png": ("png", deep_png(0, 1), "16 bits per channel"),
    "16-bit colour png": ("png", deep_png(2, 3), "16 bits per channel"),
    "16-bit colour png with alpha": ("png", deep_png(6, 4), "16 bits per channel"),
    "16-bit tiff": ("tif", encoded(Image.fromarray(np.full((40, 40), 999, np.uint16)), "TIFF"), "16 bits per channel"),
    "16-bit colour tiff": ("tif", tiff(16), "16 bits per channel"),
    "16-bit tiff of three planes": ("tif", tiff(16, planes=True), "16 bits per channel"),
    "black": ("bmp", encoded(Image.new("RGB", (40, 40)), "BMP"), "blank: nothing stands out"),
    "white": ("png", encoded(Image.new("L", (40, 40), 255), "PNG"), "blank: nothing stands out"),
    "noise": (
        "png", encoded(Image.effect_noise((400, 400), 20), "PNG"), "blank: nothing stands out",
    ),
    "tiff of fractions": ("tif", encoded(FLOAT, "TIFF"), "mode F"),
    "cmyk": ("jpg", encoded(PICTURE.convert("CMYK"), "JPEG"), "mode CMYK"),
    "black and white": ("png", encoded(PICTURE.convert("1"), "PNG"), "mode 1"),
    "lab": ("tif", encoded(Image.new("LAB", (40, 40)), "TIFF"), "mode LAB"),
    "transparent colour": ("png", encoded(with_hole("RGBA"), "PNG"), "transparent pixels"),
    "transparent grey": ("png", encoded(with_hole("LA"), "PNG"), "transparent pixels"),
    "transparent palette": ("png", encoded(PICTURE.convert("P"), "PNG", transparency=0), "transparent pixels"),
    "tiff of two pages": ("tif", encoded(PICTURE, "TIFF", save_all=True, append_images=[PICTURE]), "several images"),
    "animation": (
        "png", encoded(PICTURE, "PNG", save_all=True, append_images=[PICTURE.rotate(90)]), "several images",
    ),
    "mpo": ("jpg", encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE]), "several images"),
}  # fmt: skip


def save(root: Path, name: str) -> None:
    cells.save(root / name, PICTURE)


def link(root: Path, name: str, target: str | Path) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


def bytes_name(root: Path) -> None:
    with open(os.fsencode(f"{root}/{ALL}") + b"UID_9_1_1_\xff_all.bmp", "wb") as handle:  # noqa: PTH123
        handle.write(BMP)


def relabel(root: Path, old: str, new: str) -> None:
    path = root / LABELS
    path.write_text(path.read_text().replace(old, new))


TREE = {
    "unknown name": (lambda root: save(root, f"{ALL}cell.bmp"), f"{ALL}cell.bmp", "unknown name"),
    "name with other digits": (
        lambda root: save(root, f"{ALL}UID_٣_1_1_all.bmp"), f"{ALL}UID_٣_1_1_all.bmp", "unknown name",
    ),
    "other class in the name": (
        lambda root: save(root, f"{ALL}UID_H9_1_1_hem.bmp"), f"{ALL}UID_H9_1_1_hem.bmp",
        "contradiction: folder says ALL, name says HEM",
    ),
    "unknown class folder": (
        lambda root: save(root, "training_data/fold_0/blast/UID_9_1_1_all.bmp"),
        "training_data/fold_0/blast/UID_9_1_1_all.bmp", "unknown folder",
    ),
    "folder between part and fold": (
        lambda root: save(root, "training_data/old/fold_0/all/UID_9_1_1_all.bmp"),
        "training_data/old/fold_0/all/UID_9_1_1_all.bmp", "unknown folder",
    ),
    "folder beside the layout": (lambda root: save(root, "extra/1.bmp"), "extra/1.bmp", "unknown folder"),
    "archive left behind": (lambda root: (root / "a.zip").write_bytes(b"PK"), "a.zip", "not an image by its extension"),
    "picture of another format": (
        lambda root: (root / f"{ALL}1.webp").touch(), f"{ALL}1.webp", "not an image by its extension",
    ),
    "array of pictures": (
        lambda root: (root / f"{ALL}1.h5").touch(), f"{ALL}1.h5", "not an image by its extension",
    ),
    "picture without an extension": (
        lambda root: (root / f"{ALL}UID_9_1_1_all").write_bytes(BMP), f"{ALL}UID_9_1_1_all", "not an image by its",
    ),
    "unfinished download": (
        lambda root: (root / f"{ALL}1.bmp.part").touch(), f"{ALL}1.bmp.part", "not an image by its extension",
    ),
    "converted twice": (
        lambda root: save(root, f"{ALL}UID_1_1_1_all.png"), f"{ALL}UID_1_1_1_all.png", "the same name as",
    ),
    "unpacked twice": (
        lambda root: shutil.copytree(root / "training_data/fold_2/hem", root / "training_data/fold_2/fold_2/hem"),
        "training_data/fold_2/hem/UID_H1_3_1_hem.bmp", "the same name as training_data/fold_2/fold_2/hem/UID_H1_3_1",
    ),
    "no row for a file": (
        lambda root: save(root, f"{PRELIMINARY}9.bmp"), f"{PRELIMINARY}9.bmp", "label missing in C-NMC_test_prelim",
    ),
    "no file for a row": (
        lambda root: (root / f"{PRELIMINARY}3.bmp").unlink(), LABELS, "row for image 3 without a file",
    ),
    "label against the name": (
        lambda root: relabel(root, "1.bmp,1", "1.bmp,0"), LABELS, "line 2: contradiction: name says ALL",
    ),
    "unknown patient in the labels": (
        lambda root: relabel(root, "UID_90_1_1_all", "somebody"), LABELS, "line 2: unknown name 'somebody.bmp'",
    ),
    "two rows for a file": (
        lambda root: relabel(root, ",2.bmp", ",1.bmp"), LABELS, "line 3: image 1 has a second row",
    ),
    "two rows that disagree": (
        lambda root: relabel(root, ",3.bmp", ",1.bmp"), f"{PRELIMINARY}1.bmp", "contradiction: two rows of",
    ),
    "row cut short": (lambda root: relabel(root, ",2.bmp,1", ""), LABELS, "line 3: expected 3 values"),
    "link out of the root": (
        lambda root: link(root, f"{ALL}UID_9_1_1_all.bmp", "/etc/hostname"), f"{ALL}UID_9_1_1_all.bmp",
        "symbolic link out of the root",
    ),
    "folder linked from elsewhere": (
        lambda root: link(root, "training_data/fold_3", "/etc"), "training_data/fold_3",
        "symbolic link out of the root",
    ),
    "link that climbs out": (
        lambda root: link(root, f"{ALL}UID_9_1_1_all.bmp", "../../../../" * 9 + "etc/hostname"),
        f"{ALL}UID_9_1_1_all.bmp", "symbolic link out of the root",
    ),
    "link to nothing": (
        lambda root: link(root, f"{ALL}UID_9_1_1_all.bmp", "nothing.bmp"), f"{ALL}UID_9_1_1_all.bmp",
        "symbolic link without a target",
    ),
    "link to itself": (
        lambda root: link(root, f"{ALL}UID_9_1_1_all.bmp", "UID_9_1_1_all.bmp"), f"{ALL}UID_9_1_1_all.bmp",
        "symbolic link without a target",
    ),
    "folder that holds itself": (
        lambda root: link(root, "training_data/fold_0/again", ".."), "training_data/fold_0/again",
        "symbolic link to a folder of the root",
    ),
    "pipe": (lambda root: os.mkfifo(root / f"{ALL}UID_9_1_1_all.bmp"), f"{ALL}UID_9_1_1_all.bmp", "not a regular file"),
    "name that is not UTF-8": (bytes_name, f"{ALL}UID_9_1_1_\\xff_all.bmp", "name with control characters or not in"),
    "name with a line end": (
        lambda root: save(root, f"{ALL}UID_9_1_1\r_all.bmp"), f"{ALL}UID_9_1_1\\x0d_all.bmp",
        "name with control characters",
    ),
    "copy with the other label": (
        lambda root: [save(root, f"{ALL}UID_1_8_1_all.bmp"), save(root, "training_data/fold_0/hem/UID_H1_8_1_hem.bmp")],
        f"{ALL}UID_1_8_1_all.bmp", "contradiction: identical pixels are labelled ALL and HEM",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    return cells.write(tmp_path_factory.mktemp("intact") / "cnmc")


@pytest.fixture
def root(intact, tmp_path):
    return shutil.copytree(intact, tmp_path / "cnmc")


def test_a_whole_set_in_other_folders_is_no_partial_copy(root, tmp_path, monkeypatch):
    """Folds counted from 1, or none: the warning counts all images, not those of the folders that it knows."""
    published = {f"training_data/fold_{n}/{label}": size for n in range(3) for label, size in (("all", 8), ("hem", 6))}
    monkeypatch.setattr(cnmc, "PUBLISHED", published | {str(cnmc.PRELIMINARY): 4, str(cnmc.FINAL): 2})
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    assert prepare(data(root), before)["warnings"] == []
    (root / "training_data/fold_0").rename(root / "training_data/fold_3")
    (sentence,) = prepare(data(root), after)["warnings"]
    assert sentence.startswith("Not the published C-NMC 2019: 48 of 48 images. training_data/fold_0/all has 0 of 8")


def assert_refused(root: Path, out: Path, file: str, reason: str) -> None:
    """The job stops with file, reason and remedy; accepted, the file is in rejected.csv and in no row of the index."""
    out.mkdir()
    with pytest.raises(UserError) as caught:
        prepare(data(root), out)
    assert f"{file}: {reason}" in str(caught.value)
    assert "data.max_rejected=" in str(caught.value)
    summary = prepare(data(root, max_rejected=20), out)
    with (out / "rejected.csv").open(encoding="utf-8", newline="") as handle:
        refused = {(row["file"], row["reason"][: len(reason)]) for row in csv.DictReader(handle)}
    assert (file, reason) in refused
    index = pd.read_csv(out / "index.csv", dtype=str, keep_default_na=False)
    assert file not in set(index["image"])
    assert len(np.load(out / "images.npy")) == len(index) == summary["images"]


@pytest.mark.parametrize("kind", CONTENT)
def test_a_file_that_is_no_cell_is_refused(root, tmp_path, kind):
    suffix, content, reason = CONTENT[kind]
    name = f"{ALL}UID_1_9_9_all.{suffix}"
    (root / name).write_bytes(content)
    assert_refused(root, tmp_path / "out", name, reason)


@pytest.mark.parametrize("kind", ["jpeg whose orientation is cut off", "bomb that Pillow would warn of"])
def test_what_the_decoder_warns_of_is_refused_whatever_the_process_ignores(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(images.UnreadableImageError, match=CONTENT[kind][2]):
            images.decode(CONTENT[kind][1])


@pytest.mark.parametrize("kind", TREE)
def test_a_file_that_the_layout_does_not_explain_is_refused(root, tmp_path, kind):
    damage, file, reason = TREE[kind]
    damage(root)
    assert_refused(root, tmp_path / "out", file, reason)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "5.png")
    assert list(images.read_all([tmp_path / "5.png"], 32, 0, "cell", ahead=1)) == ["not a regular file"]


def test_a_link_into_the_cache_of_dvc_is_the_file_itself(root, tmp_path):
    """As `cache.type symlink` leaves tracked images; a link to another folder that is called so is none."""
    picture = root / f"{ALL}UID_1_1_1_all.bmp"
    cached = tmp_path / "cache/files/md5/ab" / ("0" * 30)
    cached.parent.mkdir(parents=True)
    picture.rename(cached)
    picture.symlink_to(cached)
    assert f"{ALL}UID_1_1_1_all.bmp" in tree.walk(root).images
    picture.unlink()
    picture.symlink_to(cached.parent)
    assert (f"{ALL}UID_1_1_1_all.bmp", "symbolic link out of the root") in tree.walk(root).rejected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(root, tmp_path):
    (root / f"{ALL}UID_1_1_1_all.bmp").chmod(0)
    assert_refused(root, tmp_path / "out", f"{ALL}UID_1_1_1_all.bmp", "unreadable: Permission denied")


def test_the_corpus_is_as_large_as_promised():
    assert len(CONTENT) + len(TREE) >= 40


GOOD = {
    "upper-case extension": ("BMP", BMP),
    "png": ("png", PNG),
    "tiff": ("TIFF", TIFF),
    "tiff with two resolutions": ("tif", tiff(8, resolutions=2)),
    "tiff of three planes": ("tif", tiff(8, planes=True)),
    "palette": ("png", encoded(PICTURE.quantize(255), "PNG")),
    "opaque alpha": ("png", encoded(PICTURE.convert("RGBA"), "PNG")),
    "bmp from below": ("bmp", encoded(PICTURE, "BMP")),
    "bmp with padding": ("bmp", BMP + b"\0\0"),
    "png in a file called bmp": ("bmp", PNG),
}


@pytest.mark.parametrize("kind", GOOD)
def test_other_ways_to_save_a_cell_come_out_right(root, tmp_path, kind):
    suffix, content = GOOD[kind]
    name = f"{ALL}UID_1_9_9_all.{suffix}"
    (root / name).write_bytes(content)
    prepare(data(root, pixels=40), tmp_path)
    index = pd.read_csv(tmp_path / "index.csv").set_index("image")
    ours = np.load(tmp_path / "images.npy")[index.loc[name, "row"]].astype(int)
    expected = np.asarray(PICTURE.quantize(255).convert("RGB") if kind == "palette" else PICTURE)
    assert np.array_equal(ours, expected)


@pytest.mark.parametrize(("turn", "suffix"), [(n, s) for n in range(1, 9) for s in ("png", "jpg", "tif")])
def test_an_image_that_is_to_be_turned_is_turned(root, tmp_path, turn, suffix):
    """Orientation 6 says: the picture's top is on the right-hand side of the file."""
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[5:15, 2:8] = (200, 0, 0)
    pixels[25:35, 10:18] = (0, 0, 200)
    undo = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2), 6: np.rot90, 7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }  # fmt: skip
    tag = Image.Exif()
    tag[0x112] = turn
    options = {"quality": 100, "subsampling": 0} if suffix == "jpg" else {}
    name = f"{ALL}UID_1_9_9_all.{suffix}"
    Image.fromarray(np.ascontiguousarray(undo[turn](pixels))).save(root / name, exif=tag, **options)
    prepare(data(root, pixels=40), tmp_path)
    index = pd.read_csv(tmp_path / "index.csv").set_index("image")
    assert index.loc[name, ["width", "height"]].tolist() == [20, 40]
    ours = np.load(tmp_path / "images.npy")[index.loc[name, "row"]].astype(int)
    assert abs(ours[:, 10:30] - pixels).max() <= 8
