# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils import _cmdline as c

plain = st.text("abcdefgXYZ0189-_.,:/", min_size=1, max_size=8).filter(lambda text: text != "--")
value = st.text("abc019=,.;:- +\t", max_size=8)
argument = st.one_of(
    plain,
    st.builds("{}={}".format, plain, plain),
    st.builds('{}="{}"'.format, plain, value),
    st.builds('"{}={}"'.format, plain, value),
)
line = st.lists(argument, max_size=8)
line_with_init = st.builds(lambda kernel, init: kernel + ["--"] + init, line, line)
any_line = st.one_of(line, line_with_init)


@given(any_line)
def test_split_undoes_join(arguments):
    assert c.split(c.join(arguments)) == arguments


@given(st.text())
def test_random_text_is_split_without_loss_and_stays_split(text):
    parts = c.split(text)
    assert c.split(c.join(parts)) == parts
    assert "".join(parts).count('"') == text.count('"')
    for part in parts:
        c.parse(part)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4), st.text())
def test_random_wishes_end_in_a_sentence_or_a_line(present, absent, text):
    try:
        asked = c.wanted(present, absent)
        after = c.apply(c.split(text), asked)
    except c.CmdlineError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    else:
        assert c.satisfied(after, asked) and c.apply(after, asked) == after


@given(any_line, argument)
def test_present_then_absent_is_the_original(arguments, new):
    asked = c.wanted([new], [])
    if any(c.parse(entry).name == c.parse(new).name for entry in c.for_kernel(arguments)):
        return
    with_it = c.apply(arguments, asked)
    assert c.holds(with_it, new) and len(with_it) == len(arguments) + 1
    assert c.apply(with_it, c.wanted([], [new])) == arguments


@given(any_line, st.lists(argument, max_size=3), st.lists(argument, max_size=3))
def test_what_was_not_asked_for_keeps_its_order(arguments, present, absent):
    try:
        asked = c.wanted(present, absent)
    except c.CmdlineError:
        return
    after = c.apply(arguments, asked)
    names = {c.parse(entry).name for entry in present + absent}
    assert [e for e in c.for_kernel(after) if c.parse(e).name not in names] == [
        e for e in c.for_kernel(arguments) if c.parse(e).name not in names
    ]
    assert after[len(c.for_kernel(after)) :] == arguments[len(c.for_kernel(arguments)) :]
    assert c.satisfied(after, asked) and c.apply(after, asked) == after
    assert (after == arguments) == (not c.edits(arguments, after))


@pytest.mark.parametrize(
    "text, name, value",
    [
        ("quiet", "quiet", None),
        ("iommu=", "iommu", ""),
        ("iommu=pt", "iommu", "pt"),
        ('dyndbg="file x +p"', "dyndbg", "file x +p"),
        ('"dyndbg=file x +p"', "dyndbg", "file x +p"),
        ("amdgpu.gtt-size=1-2", "amdgpu.gtt_size", "1-2"),
        ("root=UUID=1-2", "root", "UUID=1-2"),
    ],
)
def test_names_and_values_as_the_kernel_takes_them(text, name, value):
    assert c.parse(text) == c.Argument(name, value)


@pytest.mark.parametrize(
    "before, present, absent, after",
    [
        ("quiet amd_iommu=pt", ["iommu=pt"], [], "quiet amd_iommu=pt iommu=pt"),  # whole tokens only
        ("a iommu=off b", ["iommu=pt"], [], "a iommu=pt b"),  # replaced in its place
        ("iommu=soft a iommu=off b", ["iommu=pt"], [], "a iommu=pt b"),
        ("iommu=off iommu=pt", ["iommu=pt"], [], "iommu=off iommu=pt"),  # the last one is in effect already
        ("pci=bfsort", ["pci=realloc=off"], [], "pci=bfsort pci=realloc=off"),  # may repeat
        ("pci=bfsort,realloc=off", ["pci=realloc=off"], [], "pci=bfsort,realloc=off pci=realloc=off"),
        ("rd.driver.pre=a", ["rd.driver.pre=b"], [], "rd.driver.pre=a rd.driver.pre=b"),
        (
            "modprobe.blacklist=nouveau",
            ["modprobe.blacklist=amdgpu"],
            [],
            "modprobe.blacklist=nouveau modprobe.blacklist=amdgpu",
        ),
        ("console=tty0", ["console=ttyS0"], ["console=tty0"], "console=ttyS0"),
        ("debug a=1", ["a"], [], "debug a"),  # name and name=value are two things
        ("amdgpu.gtt-size=1 amdgpu.gttsize=2", [], ["amdgpu.gtt_size"], "amdgpu.gttsize=2"),
        ("a=1 a=2 a", [], ["a"], ""),
        ("a=1 a=2 a", [], ["a=1"], "a=2 a"),
        ("a -- a=1", ["b"], ["a"], "b -- a=1"),
        ('x "dyndbg=file x +p"', ['dyndbg="file x +p"'], [], 'x "dyndbg=file x +p"'),
        ("amdgpu.cwsr-enable=0", ["amdgpu.cwsr_enable=0"], [], "amdgpu.cwsr-enable=0"),
    ],
)
def test_apply(before, present, absent, after):
    assert c.join(c.apply(c.split(before), c.wanted(present, absent))) == after


def test_an_open_quote_in_the_line_is_refused():
    with pytest.raises(c.CmdlineError, match="not closed"):
        c.apply(c.split('quiet dyndbg="file x'), c.wanted(["a"], []))


def test_the_reasons_for_a_reboot_are_only_about_what_was_asked_for():
    asked = c.wanted(["iommu=pt"], ["nokaslr"])
    assert c.reboot_reasons(["quiet", "iommu=pt", "other"], asked) == []
    assert len(c.reboot_reasons(["iommu=pt", "iommu=off", "nokaslr"], asked)) == 2
