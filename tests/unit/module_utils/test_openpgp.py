# SPDX-License-Identifier: GPL-3.0-or-later
"""Fingerprints, held against those that gpg gives for keys it made itself."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.amdgpu.fleet.plugins.module_utils._openpgp import (
    NotAKey,
    armored,
    dearmored,
    expires_at,
    fingerprints,
)

ALGORITHMS = ("rsa2048", "ed25519")


class Gpg:
    """gpg with a home of its own."""

    def __init__(self, home: Path) -> None:
        if not shutil.which("gpg"):
            pytest.fail("gpg is not on the PATH. Remedy: install gnupg", pytrace=False)
        self.home = home
        home.chmod(0o700)

    def __call__(self, *arguments: str) -> bytes:
        command = [
            "gpg",
            "--homedir",
            str(self.home),
            "--batch",
            "--no-tty",
            "--quiet",
            "--pinentry-mode=loopback",
            "--passphrase=",
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def make(self, name: str, algorithm: str) -> str:
        self("--quick-generate-key", name, algorithm, "sign", "never")
        lines = self("--with-colons", "--fingerprint", name).decode().splitlines()
        return next(line for line in lines if line.startswith("fpr:")).split(":")[9]


@pytest.fixture(scope="module")
def gpg(tmp_path_factory):
    tool = Gpg(tmp_path_factory.mktemp("gpg"))
    yield tool
    subprocess.run(["gpgconf", "--homedir", str(tool.home), "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def keys(gpg):
    """The fingerprint, the binary and the armored form of one key of each kind."""
    made = {}
    for algorithm in ALGORITHMS:
        fingerprint = gpg.make(f"{algorithm} <{algorithm}@example.invalid>", algorithm)
        made[algorithm] = (fingerprint, gpg("--export", fingerprint), gpg("--armor", "--export", fingerprint))
    return made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fingerprint_of_a_key_of_gpg(keys, algorithm):
    fingerprint, binary, text = keys[algorithm]
    assert fingerprints(binary) == fingerprints(text) == [fingerprint]
    assert dearmored(text) == dearmored(binary) == binary


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_armor_is_that_of_gpg_whatever_the_key_came_in(keys, algorithm):
    """The checksum at the end included; gpg names itself in a header line in some versions."""
    _fingerprint, binary, text = keys[algorithm]
    body = text.partition(b"\n\n")[2]
    assert armored(binary).partition(b"\n\n")[2] == armored(text).partition(b"\n\n")[2] == body


def test_a_subkey_is_not_counted(gpg):
    fingerprint = gpg.make("sub <sub@example.invalid>", "rsa2048")
    gpg("--quick-add-key", fingerprint, "rsa2048", "encr")
    assert fingerprints(gpg("--export", fingerprint)) == [fingerprint]


def test_a_key_keeps_its_fingerprint_with_another_expiry_date(gpg):
    fingerprint = gpg.make("again <again@example.invalid>", "rsa2048")
    before = gpg("--export", fingerprint)
    gpg("--quick-set-expire", fingerprint, "2y")
    after = gpg("--export", fingerprint)
    assert before != after and fingerprints(after) == fingerprints(before) == [fingerprint]


def test_when_a_key_expires(gpg, keys):
    assert [expires_at(binary) for _fingerprint, binary, _text in keys.values()] == [None, None]
    fingerprint = gpg.make("expires <expires@example.invalid>", "rsa2048")
    for limit, seconds in (
        ("seconds=86400", 86400),
        ("2y", 2 * 365 * 86400),
        ("seconds=3600", 3600),
        ("0", None),
    ):
        gpg("--quick-set-expire", fingerprint, limit)
        lines = gpg("--with-colons", "--list-keys", fingerprint).decode().splitlines()
        created, expires = next(line for line in lines if line.startswith("pub:")).split(":")[5:7]
        for form in ((), ("--armor",)):
            found = expires_at(gpg(*form, "--export", fingerprint))
            assert found == (int(expires) if expires else None), limit
        assert seconds is None or abs(int(expires) - int(created) - seconds) < 86400


def test_the_expiry_of_a_subkey_and_a_signature_of_another_key_are_not_the_keys(gpg):
    fingerprint, other = (
        gpg.make("own <own@example.invalid>", "rsa2048"),
        gpg.make("friend <friend@example.invalid>", "rsa2048"),
    )
    gpg("--quick-add-key", fingerprint, "rsa2048", "encr", "seconds=3600")
    gpg("--yes", "--local-user", other, "--quick-sign-key", fingerprint)
    gpg("--quick-set-expire", other, "seconds=3600")
    assert expires_at(gpg("--export", fingerprint)) is None and expires_at(gpg("--export", other)) is not None
    assert expires_at(gpg("--export", fingerprint) + gpg("--export", other)) is None


# The certificate of RFC 9580, appendix A.3, and the same one after the signature of its primary key.
VERSION_6 = b"""-----BEGIN PGP PUBLIC KEY BLOCK-----

xioGY4d/4xsAAAAg+U2nu0jWCmHlZ3BqZYfQMxmZu52JGggkLq2EVD34laPCsQYf
GwoAAABCBYJjh3/jAwsJBwUVCg4IDAIWAAKbAwIeCSIhBssYbE8GCaaX5NUt+mxy
KwwfHifBilZwj2Ul7Ce62azJBScJAgcCAAAAAK0oIBA+LX0ifsDm185Ecds2v8lw
gyU2kCcUmKfvBXbAf6rhRYWzuQOwEn7E/aLwIwRaLsdry0+VcallHhSu4RN6HWaE
QsiPlR4zxP/TP7mhfVEe7XWPxtnMUMtf15OyA51YBM4qBmOHf+MZAAAAIIaTJINn
+eUBXbki+PSAld2nhJh/LVmFsS+60WyvXkQ1wpsGGBsKAAAALAWCY4d/4wKbDCIh
BssYbE8GCaaX5NUt+mxyKwwfHifBilZwj2Ul7Ce62azJAAAAAAQBIKbpGG2dWTX8
j+VjFM21J0hqWlEg+bdiojWnKfA5AQpWUtWnNwDEM0g12vYxoWM8Y81W+bHBw805
I8kWVkXU6vFOi+HWvv/ira7ofJu16NnoUkhclkUrk0mXubZvyl4GBg==
-----END PGP PUBLIC KEY BLOCK-----
"""
CREATED_6 = 0x63877FE3


def test_a_key_of_version_6_is_known_by_its_longer_fingerprint():
    assert fingerprints(VERSION_6) == ["CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"]


def test_when_a_key_of_version_6_expires():
    assert expires_at(VERSION_6) is None
    # Its direct key signature with one subpacket more, "expires after 1000 seconds"; nobody verifies it here.
    key = dearmored(VERSION_6)
    start = key.index(b"\xc2\xb1\x06\x1f")
    old = key[start + 2 : start + 2 + 0xB1]
    hashed = int.from_bytes(old[4:8], "big")
    lasts = b"\x05\x09" + (1000).to_bytes(4, "big")
    new = old[:4] + (hashed + len(lasts)).to_bytes(4, "big") + lasts + old[8:]
    assert (
        expires_at(key[:start] + b"\xc2" + bytes([len(new)]) + new + key[start + 2 + 0xB1 :])
        == CREATED_6 + 1000
    )


def test_several_keys_are_all_named(keys):
    (first, one, armored_one), (second, two, armored_two) = keys.values()
    assert fingerprints(one + two) == fingerprints(armored_one + armored_two) == [first, second]


def test_armor_as_vendors_write_it(keys):
    """Header lines, carriage returns, text around the block, no checksum."""
    fingerprint, binary, armored = keys["rsa2048"]
    body = base64.encodebytes(binary).decode()
    block = f"-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\nComment: a: b\n\n{body}-----END PGP PUBLIC KEY BLOCK-----\n"
    for text in (block, block.replace("\n", "\r\n"), f"The key:\n\n{block}\nEnd.\n"):
        assert fingerprints(text.encode()) == [fingerprint]
    assert fingerprints(b"\n" + armored + b"\n") == [fingerprint]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("form", [1, 2], ids=["binary", "armored"])
def test_a_truncated_key_is_no_key(keys, algorithm, form):
    """Wherever it is cut: a keyring without its last packet is one that apt may not accept."""
    data = keys[algorithm][form].rstrip()
    ends = _packet_ends(keys[algorithm][1]) if form == 1 else set()
    for length in range(len(data)):
        if length in ends:
            continue  # whole packets: shorter, but not damaged
        with pytest.raises(NotAKey):
            fingerprints(data[:length])


def _packet_ends(data: bytes) -> set[int]:
    """Where the packets of a key of gpg end; it writes old headers with lengths of one or two bytes."""
    ends, position = set(), 0
    while position < len(data):
        size = 1 << (data[position] & 3)
        position += 1 + size + int.from_bytes(data[position + 1 : position + 1 + size], "big")
        ends.add(position)
    return ends


def test_a_secret_key_and_a_signature_are_no_public_keys(gpg, keys, tmp_path):
    fingerprint = keys["rsa2048"][0]
    with pytest.raises(NotAKey, match="no public key"):
        fingerprints(gpg("--export-secret-keys", fingerprint))
    (tmp_path / "text").write_text("text", encoding="utf-8")
    gpg("--local-user", fingerprint, "--detach-sign", str(tmp_path / "text"))
    with pytest.raises(NotAKey, match="no public key"):
        fingerprints((tmp_path / "text.sig").read_bytes())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no public key"),
        (b"<html>404</html>", "not an OpenPGP key"),
        (b"\x99\x00\x00", "truncated"),
        (b"\x99\x00\x03\x05ab", "version 4 and 6"),
        (b"\x99\xff\xff\x04ab", "truncated"),
        (b"\x9b\x04ab", "no length"),
        (b"\xc6\xe1\x04ab", "partial length"),
        (b"\xc6\xff\x00\x01\x00\x01\x04" + b"\0" * 65536, "version 4 and 6"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabcde\n-----END PGP PUBLIC KEY BLOCK-----\n", "damaged"),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ!!\xff$$AA\n-----END PGP PUBLIC KEY BLOCK-----\n",
            "damaged",
        ),
    ],
)
def test_what_is_no_key(data, words):
    with pytest.raises(NotAKey, match=words):
        fingerprints(data)


def only_not_a_key(data: bytes) -> None:
    try:
        found = fingerprints(data)
        assert expires_at(data) is None or expires_at(data) > 0
    except NotAKey as error:
        assert str(error)
    else:
        assert found and all(len(fingerprint) == 40 for fingerprint in found)


HEADS = st.sampled_from([b"", b"\x99", b"\x98", b"\x9a", b"\xc6", b"\xc6\xff", b"\x99\x00\x06\x04", b"\xb4"])
ARMORED = st.binary(max_size=200).map(
    lambda body: (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + body + b"\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )
)


@settings(max_examples=1000, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.tuples(HEADS, st.binary(max_size=300)).map(b"".join), ARMORED))
def test_random_bytes_never_raise_anything_else(data):
    only_not_a_key(data)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), form=st.sampled_from([1, 2]))
def test_a_damaged_byte_never_raises_anything_else(keys, place, value, form):
    data = bytearray(keys["rsa2048"][form])
    data[place % len(data)] = value
    only_not_a_key(bytes(data))


@pytest.mark.parametrize(
    "text",
    [
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" + b"A: : : : : : : : " * 5000,
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" + b"A: b: c\n" * 100000,
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" * 50000,
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" + b"A: -----BEGIN PGP PUBLIC KEY BLOCK-----\n" * 50000,
    ],
)
def test_armor_that_is_made_to_take_long(text):
    # Of the processor: a busy machine is slow.
    started = time.process_time()
    with pytest.raises(NotAKey):
        fingerprints(text)
    assert time.process_time() - started < 2
