"""Control lines: what goes out is what the official client takes, what comes in may be anything, and no key shows anywhere."""

from __future__ import annotations

import hashlib
import hmac
import string
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbo.errors import PeerError, ProtocolError, RefusedError, RequestError
from mbo.live import handshake
from mbo.live.handshake import ClientHandshake, ServerHandshake, accepts, answer
from mbo.live.lines import MAX_LINE_BYTES, LineReader
from mbo.live.protocol import (
    ALL_SYMBOLS,
    MAX_SYMBOLS,
    SCHEMAS,
    STYPES,
    SYMBOLS_PER_LINE,
    AuthRequest,
    AuthResponse,
    Challenge,
    Greeting,
    StartSession,
    Subscription,
    encode_subscription,
    parse_request,
)
from mbo.units import UNDEF_TIMESTAMP, parse_time

CRAM, KEY = "t7kNhwj4xqR0QYjzFKtBEG2ec2pXJ4FK", "32-character-with-lots-of-filler"  # the protocol's published example
AUTH = "42e2c6c6a874b2f4498bcaf0541be406901a23adef1fb2843d5426f6d2387d14-iller"


def text(encoded: bytes) -> str:
    """The one line that was encoded, without its end."""
    line = encoded.decode()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return line[:-1]


def complaint(call: Callable[[str], object], line: str) -> str:
    """What a call says against a line, or nothing."""
    try:
        call(line)
    except PeerError as error:
        return str(error)
    return ""


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


# -------------------------------------------------------------------- lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_lines_whole_and_one_byte_at_a_time(end):
    lines = ["lsg_version=0.9.0", "", "cram=" + "x" * 32, "error=не пойдёт"]
    data = b"".join(line.encode() + end for line in lines)
    assert LineReader().feed(data) == lines
    reader = LineReader()
    assert [line for byte in data for line in reader.feed(bytes([byte]))] == lines
    assert reader.rest == b""


def test_line_leaves_what_may_be_binary():
    binary = b"DBN\x03\n\xff\x00\n"
    reader = LineReader()
    assert reader.line(b"success=1|session_id=7\n" + binary) == "success=1|session_id=7"
    assert reader.rest == binary
    reader = LineReader()
    assert reader.line(b"success=1") is None
    assert reader.rest == b"success=1"


@given(st.binary(max_size=80), st.lists(st.integers(0, 80), max_size=8))
def test_lines_of_rubbish_do_not_depend_on_how_it_was_split(data, cuts):
    def read(pieces: list[bytes]) -> tuple[list[str], str | bytes]:
        reader, lines = LineReader(limit_bytes=16), []
        try:
            for piece in pieces:
                line = reader.line(piece)
                while line is not None:
                    lines.append(line)
                    line = reader.line()
        except ProtocolError as error:
            # How much of an endless line is quoted depends on when it was noticed.
            return lines, str(error).split(":")[0]
        return lines, reader.rest

    whole = read([data])
    assert read(in_pieces(data, cuts)) == whole
    assert read([bytes([byte]) for byte in data]) == whole
    assert all(line.isprintable() or not line.isascii() for line in whole[0])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"x" * 33, "longer than 32 bytes"),
        (b"x" * 33 + b"\n", "longer than 32 bytes"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"a=\x00b\n", "control characters"),
        (b"a=\x1b[2Jb\n", "control characters"),
        (b"a\rb\n", "control characters"),
        ("a=\x85b\n".encode(), "control characters"),
        ("a=\u2028b\n".encode(), "control characters"),
    ],
    ids=["endless", "long", "encoding", "nul", "escape", "cr", "nel", "separator"],
)
def test_bad_line_breaks_the_reader_for_good(data, what):
    reader = LineReader(limit_bytes=32)
    assert reader.line(b"good=1\n") == "good=1"
    for more in (data, b"good=1\n", b""):
        with pytest.raises(ProtocolError, match=what) as caught:
            reader.feed(more)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250
    assert reader.rest == b"", "nothing is kept"


def test_line_of_the_longest_length():
    longest = b"x" * MAX_LINE_BYTES
    assert LineReader().feed(longest + b"\n") == [longest.decode()]
    with pytest.raises(ProtocolError, match="longer than 65536 bytes"):
        LineReader().feed(longest + b"x")


@pytest.mark.parametrize("damage", [b"\xff", b"\x00", b"x" * MAX_LINE_BYTES], ids=["encoding", "nul", "long"])
@pytest.mark.parametrize("line", ["auth={}|dataset=A", "dataset=A|auth={}|b=1", "AUTH = {}", "key={}"])
def test_error_about_a_line_never_quotes_auth(line, damage):
    secret = "5ec2e7" * 4
    with pytest.raises(ProtocolError) as caught:
        LineReader().feed(line.format(secret).encode() + damage + b"\n")
    assert "5ec2" not in str(caught.value)
    with pytest.raises(ProtocolError) as caught:
        parse_request(line.format(secret).replace("dataset", "data"))
    assert "5ec2" not in str(caught.value)


# -------------------------------------------------------------------- lines and values, there and back

WORD = st.text(string.ascii_letters + string.digits + "-._ äß€", min_size=1, max_size=30).map(str.strip).filter(bool)
NUMBER = st.integers(0, 2**32 - 1)
MESSAGES = st.one_of(
    st.builds(Greeting, WORD),
    st.builds(Challenge, WORD),
    st.builds(AuthResponse, st.booleans(), st.none() | NUMBER.map(str), st.none() | WORD),
    st.builds(
        AuthRequest,
        auth=WORD,
        dataset=st.text(string.ascii_uppercase + ".", min_size=1, max_size=15),
        encoding=st.sampled_from(["dbn", "csv", "json"]),
        ts_out=st.booleans(),
        compression=st.sampled_from(["none", "zstd"]),
        heartbeat_interval_s=st.none() | st.integers(5, 1800),
        slow_reader_behavior=st.sampled_from([None, "skip", "warn"]),
        client=st.just("") | WORD,
    ),
    st.builds(
        Subscription,
        symbols=st.lists(WORD, min_size=1, max_size=5).map(tuple),
        schema=st.sampled_from(SCHEMAS),
        stype_in=st.sampled_from(STYPES),
        start=st.none() | st.integers(0, UNDEF_TIMESTAMP - 1),
        id=NUMBER,
        is_last=st.booleans(),
    ),
    st.builds(Subscription, symbols=st.just((ALL_SYMBOLS,)), snapshot=st.just(True)),
    st.builds(StartSession),
)


@given(MESSAGES, st.randoms(use_true_random=False))
def test_parse_is_the_inverse_of_encode_in_any_order_and_among_unknown_keys(message, random):
    line = text(message.encode())
    assert type(message).parse(line) == message
    tokens = [*line.split("|"), "details=x", "details=y", "", "=", "new"]
    random.shuffle(tokens)
    shuffled = "|".join(tokens)
    assert type(message).parse(shuffled) == message
    if isinstance(message, AuthRequest | Subscription | StartSession):
        assert parse_request(line) == parse_request(shuffled) == message


KEYS = "auth dataset encoding ts_out compression heartbeat_interval_s slow_reader_behavior client schema stype_in symbols start"
KEYS += " snapshot id is_last start_session lsg_version cram success session_id error other"
TOKENS = st.tuples(st.sampled_from(KEYS.split()), st.text(max_size=8) | st.sampled_from(["0", "1", "mbo", "dbn", "A"]))
RUBBISH = st.text(max_size=60) | st.lists(TOKENS.map("=".join), max_size=8).map("|".join)


@given(RUBBISH)
def test_rubbish_is_a_value_or_a_protocol_error_that_can_be_shown(line):
    for parse in (
        Greeting.parse,
        Challenge.parse,
        AuthResponse.parse,
        AuthRequest.parse,
        Subscription.parse,
        parse_request,
    ):
        words = complaint(parse, line)
        assert words.isprintable()
        assert "|" not in words
        assert len(words) < 600


@given(st.lists(RUBBISH, min_size=1, max_size=5))
def test_handshakes_survive_rubbish(lines):
    server = ServerHandshake(("secret",), 7)
    reply = AuthResponse.parse(text(server.receive(lines[0])))
    assert not reply.success
    assert server.refused
    assert server.request is None
    client = ClientHandshake("another", "GLBX.MDP3")
    for line in lines:
        assert "another" not in complaint(client.receive, line)
        assert not client.done or "success" in line
        if client.done:
            break


# -------------------------------------------------------------------- what is sent, exactly


def test_lines_of_the_gateway():
    server = ServerHandshake(None, 1_700_000_001, Challenge(CRAM))
    assert server.greeting() == f"lsg_version=0.9.0\ncram={CRAM}\n".encode()
    assert server.receive("auth=x|dataset=GLBX.MDP3") == b"success=1|session_id=1700000001\n"
    assert AuthResponse(False, error="No such key").encode() == b"success=0|error=No such key\n"


def test_lines_of_the_client():
    client = ClientHandshake(KEY, "GLBX.MDP3", client="mbo/1")
    assert client.receive("lsg_version=0.9.0") is None
    assert (
        client.receive(f"cram={CRAM}")
        == (
            f"auth={AUTH}|dataset=GLBX.MDP3|encoding=dbn|ts_out=0|compression=none|heartbeat_interval_s=30|client=mbo/1\n"
        ).encode()
    )
    assert Subscription(("CLX5", "CL.FUT")).encode() == (
        b"schema=mbo|stype_in=raw_symbol|symbols=CLX5,CL.FUT|snapshot=0|id=0|is_last=1\n"
    )
    assert Subscription(("7",), "trades", "instrument_id", start=0, id=3).encode() == (
        b"schema=trades|stype_in=instrument_id|symbols=7|start=0|snapshot=0|id=3|is_last=1\n"
    )
    assert StartSession().encode() == b"start_session=0\n"


@pytest.mark.parametrize("bad", ["a|b", "a\nb", "a\rb", " a", "a ", "a\0", "\u202ea", "\ud800"], ids=repr)
def test_values_that_would_break_a_line_are_refused_unseen(bad):
    for make in (
        lambda: Greeting(bad),
        lambda: Challenge(bad),
        lambda: AuthResponse(False, error=bad),
        lambda: AuthResponse(True, bad),
        lambda: AuthRequest(bad, "A"),
        lambda: AuthRequest("x", bad),
        lambda: AuthRequest("x", "A", client=bad),
        lambda: Subscription((bad,)),
        lambda: Subscription(("A",), schema=bad),
    ):
        with pytest.raises(RequestError) as caught:
            make().encode()
        assert str(caught.value).isprintable()


def test_session_id_is_digits_only_where_we_send_it():
    assert AuthResponse.parse("success=1|session_id=mock-0").session_id == "mock-0"
    assert AuthResponse.parse("success=1") == AuthResponse(True)
    with pytest.raises(RequestError, match="session_id is 'mock-0'"):
        AuthResponse(True, "mock-0").encode()


def test_challenges_are_new_and_alphanumeric():
    drawn = {Challenge.new().cram for _ in range(100)}
    assert len(drawn) == 100
    assert all(len(cram) == 32 and cram.isascii() and cram.isalnum() for cram in drawn)


def test_greeting_may_be_any_text():
    assert Greeting.parse("lsg-test") == Greeting("lsg-test")
    assert Greeting.parse("other=1|lsg_version=2") == Greeting("2")


# -------------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("dataset=A|encoding=dbn", "no request"),
        ("auth=|dataset=A", "auth is missing"),
        ("auth=x|encoding=dbn", "dataset is missing"),
        ("auth=x|auth=y|dataset=A", "auth stands twice"),
        ("auth=x|dataset=A|ts_out=2", "ts_out is '2', not 0 or 1"),
        ("auth=x|dataset=A|ts_out=true", "ts_out is 'true'"),
        ("auth=x|dataset=A|encoding=xml", "encoding is 'xml', not one of dbn, csv, json"),
        ("auth=x|dataset=A|compression=gzip", "compression is 'gzip', not one of none, zstd"),
        ("auth=x|dataset=A|heartbeat_interval_s=4", "heartbeat_interval_s is 4, not in 5 to 1800"),
        ("auth=x|dataset=A|heartbeat_interval_s=1801", "heartbeat_interval_s is 1801"),
        ("auth=x|dataset=A|heartbeat_interval_s=1e9", "heartbeat_interval_s is '1e9', not a whole number"),
        ("auth=x|dataset=A|slow_reader_behavior=drop", "slow_reader_behavior is 'drop'"),
        ("auth=x|dataset=AAAAAAAAAAAAAAAA", "dataset is 'AAAAAAAAAAAAAAAA', not 1 to 15"),
        ("symbols=A", "schema is missing"),
        ("schema=mbo", "symbols is missing"),
        ("schema=mbo|symbols=", "symbols is missing"),
        ("schema=mbo|symbols=A,,B", "symbols holds '', which is no symbol"),
        ("schema=mbo|symbols=A,ALL_SYMBOLS", "symbols holds ALL_SYMBOLS and others"),
        ("schema=mbo|symbols=" + "A," * 2000 + "A", "symbols are 2001, not 1 to 2000"),
        ("schema=mbp|symbols=A", "schema is 'mbp'"),
        ("schema=mbo|symbols=A|stype_in=ric", "stype_in is 'ric'"),
        ("schema=mbo|symbols=A|id=-1", "id is '-1', not a whole number"),
        ("schema=mbo|symbols=A|id=4294967296", "id is 4294967296"),
        ("schema=mbo|symbols=A|id=٧", "id is '\\\\u0667'"),
        ("schema=mbo|symbols=A|id=" + "9" * 5000, "id is '999"),
        ("schema=mbo|symbols=A|is_last=yes", "is_last is 'yes'"),
        ("schema=mbo|symbols=A|snapshot=1|start=0", "snapshot is for the schema mbo, without start"),
        ("schema=trades|symbols=A|snapshot=1", "snapshot is for"),
        ("schema=mbo|symbols=A|start=noon", "start is 'noon', which is no time"),
        ("schema=mbo|symbols=A|start=18446744073709551615", "start is 18446744073709551615"),
        ("schema=mbo|symbols=A|start=1|start=2", "start stands twice"),
        ("start_session=2", "start_session is '2'"),
        ("GET / HTTP/1.1", "no request of the live protocol: 'GET / HTTP/1.1'"),
        ("", "no request"),
    ],
    ids=lambda value: value[:40] or "empty",
)
def test_bad_request_says_which_key(line, what):
    with pytest.raises(ProtocolError, match=what):
        parse_request(line)


def test_request_with_the_least_there_can_be():
    assert parse_request("dataset=A|auth=x") == AuthRequest("x", "A")
    assert parse_request("symbols=A|schema=mbo") == Subscription(("A",))
    assert parse_request(" auth = x | dataset = A |") == AuthRequest("x", "A")
    assert parse_request("schema=mbo|symbols= A, B C ,D") == Subscription(("A", "B C", "D"))


@pytest.mark.parametrize("line", ["start_session", "start_session=0", "start_session=1", "start_session="])
def test_start_session_of_every_client(line):
    assert parse_request(line) == StartSession()
    assert StartSession.parse(line) == StartSession()


def test_start_session_is_not_in_every_line():
    with pytest.raises(ProtocolError, match="start_session is missing"):
        StartSession.parse("schema=mbo|symbols=A")


@pytest.mark.parametrize(
    ("start", "ns"),
    [
        ("0", 0),
        ("1758744000000000001", 1758744000000000001),
        ("2025-09-24T20:00:00.000000001Z", 1758744000000000001),
        ("2025-09-24T20:00", parse_time("2025-09-24T20:00")),
        ("2025-09-24", parse_time("2025-09-24")),
    ],
)
def test_start_in_nanoseconds_and_as_people_type_it(start, ns):
    request = parse_request(f"schema=mbo|symbols=A|start={start}")
    assert isinstance(request, Subscription)
    assert request.start == ns


def test_the_same_checks_blame_the_caller_for_his_own_values():
    wrong: list[dict[str, Any]] = [
        {"stype_in": "ric"},
        {"id": -1},
        {"start": -1},
        {"symbols": ()},
        {"symbols": ("A,B",)},
    ]
    for values in wrong:
        with pytest.raises(RequestError):
            Subscription(**{"symbols": ("A",), **values})
    with pytest.raises(RequestError, match="auth is missing"):
        AuthRequest(" ", "A")
    with pytest.raises(RequestError, match="heartbeat_interval_s"):
        ClientHandshake(KEY, "A", heartbeat_interval_s=1)


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (500, [500]), (501, [500, 1]), (2000, [500] * 4)])
def test_subscription_to_many_symbols_takes_several_lines(count, sizes):
    symbols = tuple(f"S{number}" for number in range(count))
    whole = Subscription(symbols, start=5, id=9)
    parts = [Subscription.parse(line) for line in LineReader().feed(encode_subscription(whole))]
    assert [len(part.symbols) for part in parts] == sizes
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert tuple(symbol for part in parts for symbol in part.symbols) == symbols
    assert {replace(part, symbols=symbols, is_last=True) for part in parts} == {whole}


def test_limits_of_a_subscription():
    with pytest.raises(RequestError, match="symbols are 501, more than the 500 of one line"):
        Subscription(("A",) * (SYMBOLS_PER_LINE + 1)).encode()
    with pytest.raises(RequestError, match="symbols are 2001, not 1 to 2000"):
        Subscription(("A",) * (MAX_SYMBOLS + 1))
    with pytest.raises(RequestError, match="65536 are the most"):
        Subscription(("A" * 200,) * 400).encode()


# -------------------------------------------------------------------- the handshake


def test_answer_to_the_published_challenge():
    assert answer(CRAM, KEY) == AUTH
    assert accepts(CRAM, [KEY], AUTH)
    assert not accepts(CRAM, [], AUTH)
    assert not accepts(CRAM + "x", [KEY], AUTH)
    assert not accepts(CRAM, [KEY], AUTH.upper())
    assert not accepts(CRAM, [KEY.replace("3", "4")], AUTH), "the same last five"


@pytest.mark.parametrize("key", ["x", "schlüssel-№5", "with-a-dash-in-th-e", "\udcff\udcfe-surrogates"])
def test_keys_of_every_kind(key):
    assert answer("c", key).startswith(hashlib.sha256(b"c|" + key.encode(errors="surrogatepass")).hexdigest() + "-")
    assert accepts("c", ["other", key], answer("c", key))
    assert not accepts("c", ["other"], answer("c", key))


def test_every_key_is_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return real(a, b)

    monkeypatch.setattr(handshake.hmac, "compare_digest", watched)
    keys = ("first-key", KEY, "third-key")
    for given_key in (*keys, "none-of-them"):
        compared.clear()
        assert accepts(CRAM, keys, answer(CRAM, given_key)) == (given_key in keys)
        assert compared == [answer(CRAM, key).encode() for key in keys], "also those behind the right one"


@pytest.mark.parametrize("keys", [None, (KEY,), ("other", KEY)], ids=["any", "one", "two"])
def test_handshake_of_both_sides(keys):
    server = ServerHandshake(keys, 42)
    client = ClientHandshake(KEY, "XNAS.ITCH", ts_out=True, compression="zstd", slow_reader_behavior="skip")
    reader = LineReader()
    sent = [client.receive(line) for line in reader.feed(server.greeting())]
    assert sent[0] is None
    assert sent[1] is not None
    reply = server.receive(text(sent[1]))
    assert client.receive(text(reply)) is None
    assert client.done
    assert client.session_id == "42"
    assert not server.refused
    request = server.request
    assert request is not None
    assert replace(request, auth="x", client="") == AuthRequest(
        "x", "XNAS.ITCH", ts_out=True, compression="zstd", heartbeat_interval_s=30, slow_reader_behavior="skip"
    )
    assert request.client.startswith("mbo/")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"auth={AUTH}|dataset=A|encoding=json", "encoding json is not served here: only dbn is"),
        (f"auth={AUTH}|dataset=A|compression=gzip", "compression is 'gzip', not one of none, zstd"),
        (f"auth={AUTH}|dataset=A|heartbeat_interval_s=0", "heartbeat_interval_s is 0, not in 5 to 1800"),
        (f"auth={AUTH}x|dataset=A", "Authentication failed: no such key"),
        (f"auth={answer('another challenge', KEY)}|dataset=A", "Authentication failed: no such key"),
        ("auth=é|dataset=A", "Authentication failed: no such key"),
        ("dataset=A", "auth is missing"),
        ("start_session", "auth is missing"),
        ("a|b|c", "auth is missing"),
    ],
)
def test_gateway_refuses_with_a_reason(line, reason):
    server = ServerHandshake((KEY,), 1, Challenge(CRAM))
    assert server.receive(line) == f"success=0|error={reason}\n".encode()
    assert server.refused
    assert server.request is None


def test_gateway_that_takes_any_key_still_wants_one():
    server = ServerHandshake(None, 1)
    assert server.receive("auth= |dataset=A") == b"success=0|error=auth is missing\n"
    for keys in ((), ("other",)):
        assert b"success=0" in ServerHandshake(keys, 1, Challenge(CRAM)).receive(f"auth={AUTH}|dataset=A")
    with pytest.raises(RequestError, match="a key is blank"):
        ServerHandshake((KEY, ""), 1)


def test_client_is_refused_with_the_reason_of_the_gateway():
    client = ClientHandshake(KEY, "A")
    client.receive(f"cram={CRAM}")
    with pytest.raises(RefusedError, match=r"^the gateway refuses: no such user$"):
        client.receive("success=0|error=no such user")
    assert not client.done
    with pytest.raises(RefusedError, match="it does not say why"):
        ClientHandshake(KEY, "A").receive("success=0")


@pytest.mark.parametrize(
    "lines",
    [
        ["HTTP/1.1 400 Bad Request", "Server: x"],
        ["success=1|session_id=7"],
        ["lsg_version=1", "success=1|session_id=7"],
        ["cram="],
        ["cram=a", "cram=b"],
        ["cram=a", "hello"],
        ["cram=a", "success=yes"],
        ["cram=a", "success=1|success=0"],
    ],
    ids="; ".join,
)
def test_client_meets_something_else(lines):
    client = ClientHandshake(KEY, "A")
    for line in lines[:-1]:
        client.receive(line)
    with pytest.raises(ProtocolError):
        client.receive(lines[-1])
    assert not client.done


def test_client_bears_what_other_gateways_say():
    client = ClientHandshake(KEY, "A")
    assert client.receive("lsg-test") is None
    assert client.receive(f"new=1|cram={CRAM}|") is not None
    assert client.receive("lsg_version=late") is None
    assert client.receive("success=1|new=1|session_id=mock-0|") is None
    assert client.done
    assert client.session_id == "mock-0"
    first = ClientHandshake(KEY, "A")
    assert first.receive(f"cram={CRAM}") is not None, "without a greeting"


def test_key_shows_nowhere():
    key = "db-SECRETSECRET"
    assert answer("x", key).endswith("-ECRET"), "the last five characters do travel"
    client, server = ClientHandshake(key, "A"), ServerHandshake((key,), 1)
    sent = [client.receive(line) for line in LineReader().feed(server.greeting())][1]
    assert sent is not None
    request = AuthRequest.parse(text(sent))
    server.receive(text(sent))
    for thing in (client, server, request):
        assert "CRET" not in repr(thing) + str(thing)
    for state in (vars(client), vars(server)):
        assert "CRET" not in repr(state) + str(state)
    for line in (text(sent) + "|dataset=twice", text(sent).replace("dataset", "data"), text(sent) + "|auth=" + key):
        with pytest.raises(ProtocolError) as caught:
            AuthRequest.parse(line)
        assert "CRET" not in repr(caught.value) + str(caught.value)
        assert b"CRET" not in ServerHandshake((key,), 1).receive(line)


@pytest.mark.parametrize(
    "key", ["", "  ", "5ec2e7\n", "5ec2e7|x", "5ec2e7 ", "5ec2e7\udcff", "5ec2e7\ud800x"], ids=ascii
)
def test_key_that_cannot_be_used_is_refused_unseen(key):
    with pytest.raises(RequestError) as caught:
        ClientHandshake(key, "A")
    assert "5ec2" not in repr(caught.value)
    assert caught.value.__cause__ is None


# -------------------------------------------------------------------- the official client


def test_official_client_reads_what_the_gateway_says():
    gateway = pytest.importorskip("databento.live.gateway")
    server = ServerHandshake(None, 7, Challenge(CRAM))
    decoder = gateway.GatewayDecoder()
    decoder.write(server.greeting() + server.receive("auth=x|dataset=A") + AuthResponse(False, error="a=b, c").encode())
    assert decoder.decode() == [
        gateway.Greeting("0.9.0"),
        gateway.ChallengeRequest(CRAM),
        gateway.AuthenticationResponse(success="1", session_id="7"),
        gateway.AuthenticationResponse(success="0", error="a=b, c"),
    ]


def test_official_client_knows_the_keys_that_ours_sends():
    gateway = pytest.importorskip("databento.live.gateway")
    request = ClientHandshake(KEY, "A", slow_reader_behavior="warn").receive(f"cram={CRAM}")
    assert request is not None
    theirs = gateway.AuthenticationRequest.parse(request)
    assert (theirs.auth, theirs.encoding, theirs.heartbeat_interval_s) == (AUTH, "dbn", "30")
    whole = Subscription(("A", "B"), start=5, id=2)
    subscription = gateway.SubscriptionRequest.parse(whole.encode())
    assert (subscription.symbols, subscription.start, subscription.is_last) == ("A,B", "5", "1")
    assert gateway.parse_gateway_message(StartSession().encode().decode()) == gateway.SessionStart()


def test_what_the_official_client_sends_is_read():
    gateway = pytest.importorskip("databento.live.gateway")
    cram = pytest.importorskip("databento.common.cram")
    dbn = pytest.importorskip("databento_dbn")
    theirs = gateway.AuthenticationRequest(
        auth=cram.get_challenge_response(CRAM, KEY), dataset="GLBX.MDP3", ts_out="1", heartbeat_interval_s=30,
        compression="zstd", slow_reader_behavior="skip",
    )  # fmt: skip
    server = ServerHandshake((KEY,), 1, Challenge(CRAM))
    assert server.receive(text(bytes(theirs))) == b"success=1|session_id=1\n"
    assert server.request == AuthRequest(
        AUTH, "GLBX.MDP3", ts_out=True, compression="zstd", heartbeat_interval_s=30, slow_reader_behavior="skip",
        client=theirs.client,
    )  # fmt: skip
    asked = gateway.SubscriptionRequest(
        schema=dbn.Schema.MBO, stype_in=dbn.SType.PARENT, symbols="CL.FUT,ES.FUT", start=7, id=1, is_last=0
    )
    assert parse_request(text(bytes(asked))) == Subscription(
        ("CL.FUT", "ES.FUT"), stype_in="parent", start=7, id=1, is_last=False
    )
    assert parse_request(text(bytes(gateway.SessionStart()))) == StartSession()


def test_names_are_those_of_the_dbn_library():
    dbn = pytest.importorskip("databento_dbn")
    assert set(SCHEMAS) == {str(schema) for schema in dbn.Schema.variants()}
    assert set(STYPES) == {str(stype) for stype in dbn.SType.variants()}
