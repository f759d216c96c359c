"""No secret passes: known ones in any place, what looks like one, and what stands under a name of one."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.auth import new_key
from mbo.telemetry.redaction import MASK, Redaction

TOKEN, _ = new_key("a", "read")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}"),
        (f"got {TOKEN}!", f"got {MASK}!"),
        ("db-abcdefghijklmnopqrstuvwxyz123", MASK),
        ("http://user:pass@host:8123/mbo", f"http://user:{MASK}@host:8123/mbo"),
        ("http://:pass@host", f"http://:{MASK}@host"),
        ("auth=abc|dataset=X", f"auth={MASK}|dataset=X"),
        ("password = abc, user=me", f"password = {MASK}, user=me"),
        (
            "MBO_GATEWAY_KEY=abc MBO_CLICKHOUSE_PASSWORD=def x",
            f"MBO_GATEWAY_KEY={MASK} MBO_CLICKHOUSE_PASSWORD={MASK} x",
        ),
        ("{'password': 'abc', \"token\":\"def\"}", f"{{'password': '{MASK}', \"token\":\"{MASK}\"}}"),
        ("API_KEY=abc&x=1", f"API_KEY={MASK}&x=1"),
        ("nothing here: key of a book, http://host:80/a@b", "nothing here: key of a book, http://host:80/a@b"),
        ("bid 70.5 x 3", "bid 70.5 x 3"),
    ],
    ids=itertools.count(),  # a token is another one in every process
)
def test_what_looks_like_a_secret_is_masked(text, expected):
    assert Redaction().text(text) == expected


@pytest.mark.parametrize(
    "name", ["password", "Authorization", "api_key", "API_KEYS", "key", "keys", "x-token", "client_secret", "cookie"]
)
def test_what_stands_under_a_name_of_a_secret_is_masked(name):
    found = Redaction()({name: "x1", "headers": {name: ["x2"]}, "deep": [{"a": {name: {"b": "x3"}}}]})
    assert found == {name: MASK, "headers": {name: MASK}, "deep": [{"a": {name: MASK}}]}


@pytest.mark.parametrize("name", ["monkey", "keyboard", "symbol", "author", "sequence", "key_count"])
def test_other_names_are_left_alone(name):
    assert Redaction()({name: "x1", "n": 3, "flag": True, "none": None, "f": 1.5}) == {
        name: "x1", "n": 3, "flag": True, "none": None, "f": 1.5
    }  # fmt: skip


SECRET = "s3cretW0rd"
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.just(SECRET), st.text().map(lambda text: text + SECRET + text),
    st.binary().map(lambda data: data + SECRET.encode() + data), st.just(ValueError(SECRET)),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.lists(inner).map(tuple), st.dictionaries(st.one_of(st.text(), st.just(SECRET)), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES))
def test_a_known_secret_is_masked_wherever_it_stands(values):
    assert SECRET not in json.dumps(Redaction([SECRET])(values), default=str)


def test_a_secret_within_another_does_not_leave_its_rest():
    assert Redaction(["abcd", "abcdefgh", "abc"]).text("x abcdefgh abcd abc") == f"x {MASK} {MASK} abc"


def test_what_is_nested_without_end_ends():
    loop: list[object] = [SECRET]
    loop.append(loop)
    assert SECRET not in str(Redaction([SECRET])({"loop": loop}))
