"""Keys: made once, kept as hashes, compared in constant time, required wherever others can reach a server."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
from types import SimpleNamespace

import pytest

from mbo import auth
from mbo.auth import Key, Keys, Role, bearer, is_loopback, keys_for, new_key
from mbo.errors import RequestError


def line_of(name: str, token: str, role: str = "read") -> str:
    return f"{name}:{role}:{hashlib.sha256(token.encode()).hexdigest()}"


TOKENS = {"alice": "mbo_a", "bob": "mbo_b", "carol": "mbo_c"}
KEYS = Keys.parse(
    " ".join(line_of(name, token, "control" if name == "bob" else "read") for name, token in TOKENS.items())
)


@pytest.mark.parametrize("name", TOKENS)
def test_a_key_is_found_by_its_token(name):
    found = KEYS.identify(TOKENS[name])
    assert found is not None
    assert (found.name, found.role) == (name, Role.CONTROL if name == "bob" else Role.READ)


@pytest.mark.parametrize(
    "token", [None, "", "mbo_", "mbo_aa", "MBO_A", "mbo_a ", "\udc80", "é", hashlib.sha256(b"mbo_a").hexdigest()]
)
def test_what_is_no_key_finds_none(token):
    assert KEYS.identify(token) is None


def test_an_empty_token_is_nobodys_even_if_its_hash_is_kept():
    assert Keys.parse(line_of("nobody", "")).identify("") is None


@pytest.mark.parametrize("token", ["mbo_a", "mbo_c", "wrong", None])
def test_every_key_is_compared_whichever_is_right(token, monkeypatch):
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(auth, "hmac", SimpleNamespace(compare_digest=compare))
    KEYS.identify(token)
    assert len(compared) == len(KEYS) == 3


def test_a_role_allows_itself_and_control_allows_all():
    assert Role.READ.allows(Role.READ)
    assert Role.CONTROL.allows(Role.CONTROL)
    assert Role.CONTROL.allows(Role.READ)
    assert not Role.READ.allows(Role.CONTROL)


# ------------------------------------------------------------ making


@pytest.mark.parametrize("role", ["read", "control"])
def test_a_new_key_is_found_by_its_line(role):
    token, line = new_key("alice@desk-1", role)
    assert re.fullmatch(r"mbo_[\w-]{43}", token)
    assert token not in line
    found = Keys.parse(line).identify(token)
    assert found is not None
    assert (found.name, found.role) == ("alice@desk-1", Role(role))


def test_two_new_keys_differ():
    assert len({new_key("a", "read") for _ in range(100)}) == 100


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a" * 65, "ä", "a\n"])
def test_a_new_key_has_a_plain_name(name):
    with pytest.raises(RequestError, match="is no name of a key"):
        new_key(name, "read")


def test_a_new_key_has_a_role_that_there_is():
    with pytest.raises(RequestError, match="'admin' is no role"):
        new_key("a", "admin")


# ------------------------------------------------------------ reading


def test_entries_stand_between_spaces_or_on_lines_with_comments():
    text = f"# the desk\n{line_of('a', '1')} # till May\n\n  {line_of('b', '2')} {line_of('c', '3')}\n"
    assert Keys.parse(text).names == ("a", "b", "c")


DIGEST = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "entry",
    [
        "mbo_secret", "a:read", f"a:admin:{DIGEST}", f"a:READ:{DIGEST}", f":read:{DIGEST}", f"a:read:{DIGEST[1:]}",
        f"a:read:{DIGEST.upper()}", f"a:read:{DIGEST}:x", f"a:read:{DIGEST}0", "a:read:mbo_secret", f"a/b:read:{DIGEST}",
    ],
)  # fmt: skip
def test_an_entry_that_is_no_key_is_refused_by_its_number_and_not_shown(entry):
    with pytest.raises(RequestError, match="MBO_API_KEYS, entry 2 is no key: write name:role:sha256") as caught:
        Keys.parse(f"{line_of('x', 'y')} {entry}")
    assert entry not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "there is no key"),
        ("# nobody\n", "there is no key"),
        (f"{line_of('a', '1')} {line_of('a', '2')}", "same name"),
        (f"{line_of('a', '1')} {line_of('b', '1')}", "same hash"),
    ],
)
def test_no_keys_and_doubled_ones_are_refused(text, what):
    with pytest.raises(RequestError, match=what):
        Keys.parse(text)


def test_nothing_shows_a_hash():
    for shown in (repr(KEYS), str(KEYS), repr(Key("a", Role.READ, b"12345678")), f"{Key('a', Role.READ, b'12345678')}"):
        assert "12345678" not in shown
        assert not re.search(r"[0-9a-f]{16}|x[0-9a-f]{2}", shown)


# ------------------------------------------------------------ files


def keys_file(folder, mode: int, text: str | bytes = line_of("a", "1")):
    path = folder / "keys"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_read_without_a_word(mode, tmp_path, caplog):
    assert Keys.read(keys_file(tmp_path, mode)).names == ("a",)
    assert not caplog.messages


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o444])
def test_a_file_that_others_may_read_is_warned_of(mode, tmp_path, caplog):
    path = keys_file(tmp_path, mode)
    with caplog.at_level(logging.WARNING):
        assert Keys.read(path).names == ("a",)
    assert caplog.messages == [f"others than its owner may read {path} (mode {mode:o}): chmod 600 {path}"]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o622])
def test_a_file_that_others_may_change_is_refused(mode, tmp_path):
    path = keys_file(tmp_path, mode)
    with pytest.raises(RequestError, match=f"others than its owner may change .*mode {mode:o}"):
        Keys.read(path)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"\x80" * 10])
def test_a_file_that_is_not_plain_text_is_refused(data, tmp_path):
    with pytest.raises(RequestError, match="is not plain text"):
        Keys.read(keys_file(tmp_path, 0o600, data))


def test_a_file_without_an_end_is_refused(tmp_path):
    path = keys_file(tmp_path, 0o600, "")
    os.truncate(path, 1 << 30)
    with pytest.raises(RequestError, match="longer than a file of keys"):
        Keys.read(path)


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        Keys.read(tmp_path / "none")


# ------------------------------------------------------------ where keys are needed

INSIDE = ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"]
OUTSIDE = [
    "0.0.0.0",
    "::",
    "[::]",
    "192.168.0.1",
    "8.8.8.8",
    "",
    "example.com",
    "localhost.example.com",
    "127.0.0.1.example.com",
]


@pytest.mark.parametrize("host", INSIDE)
def test_on_loopback_there_need_be_no_keys(host):
    assert is_loopback(host)
    assert keys_for(host, None, None) is None


@pytest.mark.parametrize("host", OUTSIDE)
def test_elsewhere_a_server_without_keys_does_not_start(host):
    assert not is_loopback(host)
    with pytest.raises(
        RequestError, match="is not loopback, the API needs keys: set MBO_API_KEYS or MBO_API_KEYS_FILE"
    ):
        keys_for(host, None, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_keys_that_are_given_count_everywhere(host, tmp_path):
    from_text = keys_for(host, line_of("a", "1"), None)
    from_file = keys_for(host, None, keys_file(tmp_path, 0o600))
    assert from_text is not None
    assert from_file is not None
    assert from_text.names == from_file.names == ("a",)


def test_an_empty_list_of_keys_opens_nothing(tmp_path):
    with pytest.raises(RequestError, match="there is no key"):
        keys_for("127.0.0.1", "", None)
    with pytest.raises(RequestError, match="there is no key"):
        keys_for("127.0.0.1", None, keys_file(tmp_path, 0o600, "#\n"))


def test_keys_from_two_places_are_refused(tmp_path):
    with pytest.raises(RequestError, match="set one of them"):
        keys_for("127.0.0.1", line_of("a", "1"), keys_file(tmp_path, 0o600))


# ------------------------------------------------------------ headers


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"), ("bearer abc", "abc"), ("BEARER   abc", "abc"), (" Bearer abc ", "abc"),
        ("Bearer a-b_c.d=", "a-b_c.d="), (None, None), ("", None), ("abc", None), ("Bearer", None), ("Bearer ", None),
        ("Basic abc", None), ("Bearer a b", None), ("Bearerabc", None), ("Bearer a,b", None), ("Bearer é", None),
        ("Bearer " + "a" * 513, None), ("Bearer a\r\nX: y", None),
    ],
)  # fmt: skip
def test_a_header_is_read_to_the_letter(header, token):
    assert bearer(header) == token
