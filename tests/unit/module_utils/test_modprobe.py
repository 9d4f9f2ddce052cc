# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _modprobe as m
from ansible_collections.amdgpu.fleet.plugins.module_utils import _modprobe_effect as effect

name = st.from_regex(r"\A[a-z][a-z0-9_]{0,5}\Z")
value = st.text("abc019=,.: #*", min_size=1, max_size=8).filter(lambda text: text == text.strip())
options = st.dictionaries(name, st.dictionaries(name, value, min_size=1, max_size=3), max_size=3)


@given(options, st.lists(name, unique=True, max_size=3))
def test_what_is_written_is_what_is_read(wanted, blacklist):
    state = m.State(wanted, blacklist, [])
    assert m.parse(m.render(state)) == state


@given(st.text())
def test_random_text_never_ends_in_a_traceback_and_is_stable(text):
    state = m.parse(text)
    m.render(state)
    m.settings("x", text)
    assert m.apply(state, {}, [], True) == state


@given(options, options, st.lists(name, unique=True, max_size=2))
def test_present_then_absent_of_new_ones_is_the_original(have, new, blacklist):
    before = m.State(have, [], ["install x /bin/true"])
    new = {f"new_{module}": parameters for module, parameters in new.items()}
    there = m.apply(before, new, blacklist, True)
    assert all(there.options[module] == parameters for module, parameters in new.items())
    assert m.apply(there, new, blacklist, True) == there
    if new or blacklist:
        assert m.apply(there, new, blacklist, False) == before


def test_parse_takes_the_forms_modprobe_takes():
    state = m.parse(
        '# c\n  options\tamd-ttm a=1 b="x y" \\\n  c=2\nblacklist nou-veau\noptions amd_ttm a=3\ninstall x /bin/true\n'
    )
    assert state.options == {"amd_ttm": {"a": "3", "b": "x y", "c": "2"}}
    assert state.blacklist == ["nou_veau"] and state.other == ["# c", "install x /bin/true"]


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("Y", "1", True),
        ("0x10", "16", True),
        ("N", "true", False),
        ("a", "a ", True),
        ("25165824", "25165825", False),
        ("010", "10", False),
    ],
)
def test_values_are_compared_as_the_parameter_takes_them(one, other, same):
    assert m.equal(one, other) is same


@pytest.mark.parametrize(
    "wish, word",
    [
        ({"ttm": {"pages limit": 1}}, "pages limit"),
        ({"ttm": {"a": "x\ny"}}, "ttm.a"),
        ({"ttm": {"a": [1]}}, "list"),
        ({"ttm": 5}, "ttm"),
        ({"t;m": {}}, "t;m"),
        ({"ttm": {"a-b": 1, "a_b": 2}}, "twice"),
        ({"ttm": {"a": 'x"'}}, "double quote"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(wish, word):
    with pytest.raises(m.ModprobeError, match=word) as caught:
        m.wanted(wish, [])
    assert "\n" not in str(caught.value)


def test_a_file_hides_one_of_the_same_name_in_a_lesser_folder(tmp_path):
    for folder, text in (
        ("usr/lib/modprobe.d", "options ttm a=1\n"),
        ("etc/modprobe.d", "options ttm a=2\n"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.conf").write_text(text)
    found = m.conflicts(
        str(tmp_path), str(tmp_path / "etc/modprobe.d/amdgpu-fleet.conf"), {"ttm": {"a": "3"}}, []
    )
    assert [(entry["value"], entry["wins"], entry["line"]) for entry in found] == [("2", True, 1)]


def test_an_initramfs_older_than_the_file_is_due_even_without_a_change(tmp_path):
    place = tmp_path / "etc/modprobe.d/x.conf"
    place.parent.mkdir(parents=True)
    place.write_text("")
    assert effect.initramfs_reason(str(tmp_path), str(place), True) == ""
    (tmp_path / "boot").mkdir()
    image = tmp_path / "boot/initrd.img-6.1"
    image.write_text("")
    os.utime(image, (1, 1))
    assert "newer" in effect.initramfs_reason(str(tmp_path), str(place), False)
    os.utime(place, (0, 0))
    assert effect.initramfs_reason(str(tmp_path), str(place), False) == ""
    assert "cannot be told" in effect.initramfs_reason(str(tmp_path), str(place), True)
    (tmp_path / "etc/initramfs-tools").mkdir()
    assert "initramfs-tools" in effect.initramfs_reason(str(tmp_path), str(place), True)


def test_one_new_kernel_does_not_hide_the_stale_image_of_another(tmp_path):
    place = tmp_path / "etc/modprobe.d/x.conf"
    for number, name in enumerate(
        [
            "boot/initrd.img-6.1",
            "etc/modprobe.d/x.conf",
            "boot/initrd.img-6.2",
            "boot/loader/6.3/initrd",
            "boot/initrd.img",
        ],
        1,
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (number, number))

    def reason() -> str:
        return effect.initramfs_reason(str(tmp_path), str(place), False)

    assert reason() == "", "names that tell nothing: the newest counts"
    for release in ("6.2", "6.3"):
        (tmp_path / "lib/modules" / release).mkdir(parents=True)
    assert reason() == "", "the image of a kernel that was removed does not count"
    (tmp_path / "lib/modules/6.1").mkdir()
    assert reason().endswith("is newer than " + str(tmp_path / "boot/initrd.img-6.1"))
    (tmp_path / "boot/initramfs-6.1.img").write_text("")
    assert reason() == "", "of several images of a kernel the newest is taken"


def test_a_removal_that_was_interrupted_still_asks_for_the_initramfs(tmp_path):
    folder = tmp_path / "etc/modprobe.d"
    folder.mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    image = tmp_path / "boot/initrd.img-6.1"
    image.write_text("")
    place = str(folder / "x.conf")
    os.utime(image, (1, 1))
    assert "newer" in effect.initramfs_reason(str(tmp_path), place, False, whole=True)
    assert effect.initramfs_reason(str(tmp_path), place, False) == "", (
        "where nothing is to go, other people's files are no reason"
    )
    os.utime(folder, (1, 1))
    assert effect.initramfs_reason(str(tmp_path), place, False, whole=True) == ""
