"""The command line: the verbs of the package, as tables and ladders on a terminal and as files."""

from __future__ import annotations

import io
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import mbo
from mbo.bench import SUITES
from mbo.errors import DataError, MboError, RequestError
from mbo.units import format_time

if TYPE_CHECKING:
    from rich.table import Table

    from mbo.book import Book
    from mbo.run import Outcome

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    help="Order books you can trust from Databento's market-by-order data.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="DBN files of MBO records, .dbn or .dbn.zst, or patterns.")
]


def main() -> None:
    """Run the command line; what goes wrong is one sentence on standard error and exit code 1 (2 for a wrong call)."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            sys.exit("mbo: standard output and standard error have to be open")
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a bar shows a question mark
    try:
        app()  # which ends quietly by itself on Ctrl-C (130) and when nobody reads on (1)
    except MboError as error:
        _fail(str(error))
    except OSError as error:
        known = error.filename and error.strerror
        _fail(f"{error.filename}: {error.strerror}" if known else str(error.strerror or error))


def _fail(sentence: str) -> None:
    print(f"mbo: {sentence}", file=sys.stderr)
    sys.exit(1)


def _version(asked: bool) -> None:
    if asked:
        print(f"mbo {mbo.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: mbo info day.dbn.zst")
def info(files: Files) -> None:
    """Say what files hold: their headers, and their records counted."""
    day = mbo.read_dbn(files)
    summary = day.summary()
    table = _table("", "", title=None)
    for file in day.files:
        packed = "zstd, " if file.compressed else ""
        table.add_row("file", f"{file.path} (DBN version {file.version}, {packed}{file.size_bytes:,} bytes)")
    first, last = day.covers
    table.add_row("dataset", day.dataset)
    table.add_row("made for", f"{format_time(first)} to {format_time(last)}")
    if summary.first is not None and summary.last is not None:
        table.add_row("ts_recv", f"{format_time(summary.first)} to {format_time(summary.last)}")
    table.add_row("records", f"{summary.records:,} in {summary.events:,} events")
    table.add_row("actions", "  ".join(f"{letter} {count:,}" for letter, count in summary.actions.items()))
    for (publisher, instrument), count in list(summary.instruments.items())[:20]:
        symbol = day.symbol_map.symbol(instrument, summary.first)
        table.add_row("instrument", f"{symbol} (id {instrument}, publisher {publisher}): {count:,} records")
    if len(summary.instruments) > 20:
        table.add_row("", f"and {len(summary.instruments) - 20:,} more instruments")
    for name, count in summary.skipped.items():
        table.add_row("not mbo", f"{count:,} {name} records, left out")
    _print(table)


@app.command(epilog="Example: mbo book day.dbn --at 2025-09-24T20:00 --json book.json")
def book(
    files: Files,
    at: Annotated[str | None, typer.Option(help="Instant (UTC, by ts_recv) to show the book at, else the end.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Symbol or instrument id, where there are several.")] = None,
    publisher: Annotated[int | None, typer.Option(help="Publisher id, where several venues trade the symbol.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Levels a side: 10 drawn, and all in JSON, unless given.")
    ] = None,
    orders: Annotated[bool, typer.Option("--orders", help="Show every order, in priority order.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first record that breaks a rule.")] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the book as JSON; - is standard output.")
    ] = None,
) -> None:
    """Rebuild a book and draw it, or write it as JSON."""
    from mbo.book.render import LADDER_DEPTH, ladder_text

    found = mbo.read_dbn(files).select(publisher_id=publisher).book(symbol, at=at, strict=strict)
    if json_path is None:
        print(ladder_text(found, LADDER_DEPTH if depth is None else depth))
        _print_anomalies(found)
        if orders:
            _print_orders(found, depth)
        return
    document = found.document(depth=depth, orders=orders)
    if str(json_path) == "-":
        print(json.dumps(document, indent=1))
        return
    from mbo.run import write_json

    write_json(json_path, document)
    print(f"{json_path}: {found.depth('bid')} bid and {found.depth('ask')} ask levels, {found.status.orders:,} orders")


@app.command(epilog="Example: mbo convert day.dbn.zst --schema mbp-10 --out day.mbp-10.parquet")
def convert(
    files: Files,
    schema: Annotated[str, typer.Option(help="What to make: mbp-10, mbp-1, tbbo, trades, bbo-1s, bbo-1m or mbo.")],
    out: Annotated[
        Path,
        typer.Option(help="File to write: .dbn, .dbn.zst, .parquet, .arrow, .csv, .ndjson, or .json (integer-coded)."),
    ],
    symbol: Annotated[str | None, typer.Option(help="Symbol or instrument id, else all of them.")] = None,
    emit: Annotated[
        str,
        typer.Option(help="Record of every event that did touch a visible level, or only if that brought a change."),
    ] = "touch",
) -> None:
    """Write the records of files in another schema and format."""
    from mbo.formats import records_as, write

    day = mbo.read_dbn(files)
    count = write(records_as(day if symbol is None else day.select(symbol), schema, emit=emit), out)
    print(f"{out}: {count:,} {schema} records, {out.stat().st_size:,} bytes")


@app.command(epilog="Example: mbo compare day.mbp-10.json reference.mbp-10.dbn.zst --ignore side")
def compare(
    ours: Annotated[Path, typer.Argument(help="Records in any format of convert, or a final book as JSON.")],
    reference: Annotated[Path, typer.Argument(help="What to compare it with, in any of them.")],
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Column to leave out; may be given several times, or as a list with commas."),
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON too.")] = None,
) -> None:
    """Compare records or final books; the exit code is 1 where anything differs."""
    ignored = [name.strip() for given in ignore or [] for name in given.split(",") if name.strip()]
    found = mbo.compare(ours, reference, ignore=ignored)
    if json_path is not None:
        from mbo.run import write_json

        write_json(json_path, found.document())
    print(found)
    if not found.equal:
        raise typer.Exit(1)


@app.command(epilog="Example: mbo verify day.dbn.zst --reference reference.mbp-10.dbn.zst --json report.json")
def verify(
    files: Files,
    reference: Annotated[
        Path | None, typer.Option(help="Records in any schema and format of convert, or a final book, to compare with.")
    ] = None,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON too, with the records of its exceptions.")
    ] = None,
) -> None:
    """Check every record by the rules and classify every exception; exit code 1 where a rule is broken without explanation."""
    report = mbo.verify(mbo.read_dbn(files), reference=reference)
    if json_path is not None:
        from mbo.run import write_json

        write_json(json_path, report.document())
    print(report)
    if not report:
        raise typer.Exit(1)


@app.command(epilog="Examples: mbo run    mbo run day.dbn.zst --rate 500000 --out results")
def run(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="DBN files; none: the bundled simulated session.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    rate: Annotated[float | None, typer.Option(help="Records a second; else as fast as they are applied.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first record that breaks a rule.")] = False,
    store: Annotated[
        str | None, typer.Option(help="URL of the store, such as chdb:///dir; else the folder `store` in OUT.")
    ] = None,
    no_store: Annotated[bool, typer.Option("--no-store", help="Store nothing.")] = False,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not check the records by the rules.")] = False,
) -> None:
    """Do the main job: stream the files over TCP, rebuild every book; store, verify, write books, MBP-10 and a summary.

    Exit code 1 where a rule is broken without explanation, after everything is written.
    """
    from mbo.run import run as main_job

    day = mbo.read_dbn(files or mbo.SIMULATED)
    where = not no_store if store is None else store
    outcome = main_job(day, out, rate=rate, strict=strict, store=where, verified=not no_verify)
    _print_outcome(", ".join(file.path.name for file in day.files), outcome)
    if outcome.verification is not None and not outcome.verification:
        raise DataError(f"{outcome.verification.verdict}; mbo verify shows the records")


@app.command(epilog="Examples: mbo gateway day.dbn.zst --speed 10    mbo gateway day.dbn --rate 500000 --loop")
def gateway(
    files: Files,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback only with a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any.")] = 13000,
    rate: Annotated[float | None, typer.Option(help="Records a second.")] = None,
    speed: Annotated[float | None, typer.Option(help="Times the recorded speed; 1 unless given.")] = None,
    unpaced: Annotated[bool, typer.Option("--max", help="As fast as every client reads, each from the start.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end, with later times and new ids.")] = False,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with the keys that are let in, one a line; else MBO_GATEWAY_KEY, else any."),
    ] = None,
) -> None:
    """Replay files by Databento's live protocol, to its official clients and to mbo live, until Ctrl-C or SIGTERM."""
    from mbo.live.address import keys_from
    from mbo.live.serving import serve_until_signal

    if sum((rate is not None, speed is not None, unpaced)) > 1:
        raise RequestError("a replay has one pace: give --rate, --speed or --max")
    pace = {"rate": rate, "speed": 1.0 if speed is None and rate is None and not unpaced else speed}
    served = mbo.serve_gateway(mbo.read_dbn(files), host=host, port=port, loop=loop, keys=keys_from(key_file), **pace)
    print(f"{served.url} replays {', '.join(files)}; follow it with: mbo live {served.url}", flush=True)
    serve_until_signal(served)


@app.command(
    epilog="Examples: mbo serve --file day.dbn.zst --speed 10    mbo serve --feed tcp://127.0.0.1:13000 --store chdb:///data/mbo"
)
def serve(
    feed: Annotated[
        str | None, typer.Option(help="Gateway to follow, tcp://host:port; its key comes from MBO_GATEWAY_KEY.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="DBN file to replay instead.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Record into chdb:///dir or http(s)://user@host:8123/mbo, and serve what is there."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; beyond loopback only with keys.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any.")] = None,
    rate: Annotated[float | None, typer.Option(help="Records a second, of a file.")] = None,
    speed: Annotated[float | None, typer.Option(help="Times the recorded speed, of a file; 1 unless given.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin a file again at its end.")] = False,
    env: Annotated[str | None, typer.Option(help="dev, staging or prod; else MBO_ENV.")] = None,
) -> None:
    """Serve books over HTTP and WebSocket, from a gateway or a file, and record them if you like, until Ctrl-C or SIGTERM."""
    from mbo.api.serving import serve as serve_all

    given = {
        "feed": feed, "file": file, "store": store, "env": env, "api.host": host, "api.port": port, "gateway.rate": rate,
    }  # fmt: skip
    raise typer.Exit(serve_all(given, speed=speed, loop=loop))


@app.command(epilog="Example: mbo live tcp://127.0.0.1:13000 --symbols CLX5 --until-end --json book.json")
def live(
    url: Annotated[str, typer.Argument(help="Gateway, tcp://host:port; a key comes from MBO_GATEWAY_KEY.")],
    symbols: Annotated[list[str] | None, typer.Option(help="Symbols, several times or with commas; else all.")] = None,
    start: Annotated[str | None, typer.Option(help="Instant (UTC, ts_event) to begin at; 0 is the beginning.")] = None,
    snapshot: Annotated[bool, typer.Option("--snapshot", help="Begin with the books as they stand.")] = False,
    dataset: Annotated[
        str | None, typer.Option(help="Databento's code, where the gateway's name does not say.")
    ] = None,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop where a replay ends.")] = False,
    depth: Annotated[int, typer.Option(min=1, help="Levels a side to draw.")] = 10,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the final books as JSON: one, or a list of them.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Record into chdb:///dir or http(s)://user@host:8123/mbo, and after a crash go on."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="The recording's name; else the gateway's and the day's.")] = None,
) -> None:
    """Follow a gateway: a ladder that moves, the final book, and a recording if you like."""
    from mbo.live.screen import picture, show
    from mbo.run import write_json

    names = [name.strip() for given in symbols or [] for name in given.split(",") if name.strip()]
    begin = 0 if start == "0" else start
    options = {"start": begin, "snapshot": snapshot, "dataset": dataset, "ts_out": True}
    if session is not None and store is None:
        raise RequestError("--session names a recording: say with --store where it goes")
    with ExitStack() as stack:
        recorder = None
        if store is None:
            feed = stack.enter_context(mbo.connect(url, names or "ALL_SYMBOLS", **options))
        else:
            opened = stack.enter_context(mbo.Store(store))
            recorder = stack.enter_context(mbo.record(url, opened, names or "ALL_SYMBOLS", session=session, **options))
            feed = recorder.feed
        try:
            show(feed, depth=depth, until_end=until_end, recorder=recorder)
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
        books = feed.books()
        if recorder is not None:
            recorder.close()
        print(picture(feed, depth, recorder))
    if json_path is not None:
        documents = [book.document() for book in books.values()]
        write_json(json_path, documents[0] if len(documents) == 1 else documents)
        print(f"{json_path}: {len(documents)} books")


StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="chdb:///dir (in your data directory unless given) or http(s)://user@host:8123/mbo?layout=single.",
    ),
]


@app.command(
    epilog="Examples: mbo ingest day.dbn.zst --store chdb:///data/mbo    "
    "mbo ingest 'days/*.zst' --store http://db:8123/mbo --dask tcp://scheduler:8786"
)
def ingest(
    files: Files,
    store: StoreUrl = None,
    overlap: Annotated[
        str, typer.Option(help="Where a stored file has these messages already: error, replace or allow.")
    ] = "error",
    fsync: Annotated[bool, typer.Option("--fsync", help="Have every insert reach the disk before it counts.")] = False,
    dask: Annotated[
        str | None,
        typer.Option(metavar="SCHEDULER", help="Have the workers of a Dask cluster do it, tcp://host:8786."),
    ] = None,
) -> None:
    """Store files in ClickHouse: messages, MBP-10 and books; again does nothing, and what was cut short goes on."""
    if dask is not None:
        _ingest_by_dask(files, store, dask, overlap, "fsync" if fsync else None)
        return
    paths = [file.path for file in mbo.read_dbn(files).files]
    with mbo.Store(store) as opened:
        try:
            report = opened.ingest(paths, overlap=overlap, durability="fsync" if fsync else None)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            print("mbo: stopped; the same command goes on from here", file=sys.stderr)
            raise
        for file in report.files:
            print(repr(file)[1:-1])
        print(f"in {opened.url}")


def _ingest_by_dask(files: list[str], store: str | None, scheduler: str, overlap: str, durability: str | None) -> None:
    """Exit code 1 where a file is not stored; the others are."""
    from mbo.cluster import backfill, connected

    if store is None:
        raise RequestError("a cluster stores into a ClickHouse server: name it with --store http://user@host:8123/mbo")
    with connected(scheduler) as client:
        try:
            done = backfill(files, store=store, client=client, overlap=overlap, durability=durability)  # type: ignore[arg-type]
        except KeyboardInterrupt:
            print("mbo: stopped; the same command goes on from here", file=sys.stderr)
            raise
    for file in done.files:
        print(repr(file)[1:-1])
    for failed in done.failed:
        print(f"mbo: {failed}", file=sys.stderr)
    print(f"{len(done.files)} of {len(done.files) + len(done.failed)} files in {store}")
    if not done:
        raise typer.Exit(1)


@app.command(
    epilog="Example: mbo query 'SELECT action, count() FROM mbo.messages GROUP BY action' --out counts.parquet"
)
def query(
    sql: Annotated[
        str, typer.Argument(help="What to ask; the tables are mbo.messages, mbo.mbp10, mbo.files and more.")
    ],
    store: StoreUrl = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .parquet, .arrow or .csv.")] = None,
) -> None:
    """Ask a store in SQL."""
    from mbo.tables import text_of, write_table

    with mbo.Store(store) as opened:
        table = opened.query(sql)
    if out is None:
        print(text_of(table))
        return
    write_table(table, out)
    print(f"{out}: {table.num_rows:,} rows")


@app.command(epilog="Example: mbo simulate --out day.dbn.zst --messages 1000000 --seed 7 --truth day.mbp-10.dbn.zst")
def simulate(
    out: Annotated[Path, typer.Option(help="File to write: .dbn or .dbn.zst.")],
    messages: Annotated[int, typer.Option(min=1, help="How many records.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="One seed is one sequence of bytes, on any machine.")] = 1,
    instruments: Annotated[int, typer.Option(min=1, help="How many books.")] = 1,
    truth: Annotated[
        Path | None, typer.Option(help="Write the MBP-10 records too, as the simulated exchange itself knows them.")
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Without icebergs, auctions, stops, gaps and other rare things.")
    ] = False,
) -> None:
    """Write a simulated session from a seeded matching engine."""
    from mbo.simulator import Feature, write_session

    features = Feature.NONE if plain else Feature.ALL
    written = write_session(out, messages, seed=seed, instruments=instruments, features=features, truth=truth)
    books = ", ".join(list(written.digests)[:8]) + (", ..." if len(written.digests) > 8 else "")
    print(f"{out}: {written.records:,} records of {books}, {written.size_bytes:,} bytes")
    if truth is not None:
        print(f"{truth}: {written.truth_records:,} MBP-10 records, {truth.stat().st_size:,} bytes")


_BENCHES = (
    f"One of {', '.join(SUITES)}; or all, which runs these one after the other (13 to 30 minutes, 6 GB of disk); or haul,"
    " 100 million messages through everything (15 minutes, 10 GB)."
)


@app.command(epilog="Examples: mbo bench    mbo bench all --json > new.json    mbo bench core --compare old.json")
def bench(
    name: Annotated[str, typer.Argument(help=_BENCHES)] = "core",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    compare: Annotated[Path | None, typer.Option(help="What an earlier --json printed, to stand beside this.")] = None,
) -> None:
    """Measure speed: what each row has to reach, and ratios against what does the same work on the same records."""
    from mbo.bench.report import read_report, report

    if name not in (*SUITES, "haul", "all"):
        raise RequestError(f"no bench {name!r}: there is {', '.join(SUITES)}, all of these, and haul")
    earlier = None if compare is None else read_report(compare)
    found = report(SUITES if name == "all" else [name])
    if as_json:
        print(json.dumps(found.document(earlier), indent=1))
        if found.failed:
            raise RequestError(f'{" and ".join(found.failed)} ended early: see "failed"')
        return
    print("\n".join(f"{what}: {value}" for what, value in found.machine.items()))
    for suite, rows in found.suites.items():
        table = _table("what", "messages", "median", "spread", "beside it", "aim", "", title=f"mbo bench {suite}")
        for row in rows:
            table.add_row(*row.cells())
        _print(table)
    if earlier is not None:
        table = _table("what", "before", "now", "now / before", "", title=f"beside {compare}")
        for cells in found.compared(earlier):
            table.add_row(*cells)
        _print(table)
    print("\n".join(found.closing(earlier)))
    if found.failed:
        raise RequestError(f"{' and '.join(found.failed)} ended early")


@app.command(epilog="Examples: mbo config --env prod    MBO_API_PORT=9000 mbo config --json")
def config(
    env: Annotated[str | None, typer.Option(help="dev, staging or prod; else MBO_ENV, else dev.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show every setting in force and where it comes from, secrets masked; exit code 1 where one is missing."""
    from mbo.config import document, missing, read, rows

    settings = read({"env": env})
    if as_json:
        print(json.dumps(document(settings), indent=1))
    else:
        table = _table("setting", "value", "from", "meaning", title=f"mbo config: {settings.env}")
        for row in rows(settings):
            table.add_row(*row)
        _print(table)
    if lacking := missing(settings):
        raise RequestError(f"{settings.env} needs {', '.join(lacking)}")


@app.command(epilog="Example: mbo key alice --role read")
def key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    role: Annotated[str, typer.Option(help="read, or control, which may also steer a replay.")] = "read",
) -> None:
    """Make a key of the API: the key itself, shown this once, and the line with its hash that the server keeps."""
    from mbo.auth import new_key

    token, line = new_key(name, role)
    print(f"the key, for {name}, shown only now:\n{token}")
    print(f"the line for MBO_API_KEYS or the file of MBO_API_KEYS_FILE:\n{line}")


@app.command()
def doctor() -> None:
    """Check this installation: versions, compiled kernels, the bundled session rebuilt to its known end."""
    from mbo.doctor import checks

    table = _table("check", "found", "", title=f"mbo {mbo.__version__}")
    failed = 0
    for check in checks():
        failed += not check.good
        table.add_row(check.name, check.found, "ok" if check.good else "WRONG")
    _print(table)
    if failed:
        raise RequestError(f"{failed} of the checks failed")


# ---------------------------------------------------------------- tables


def _table(*columns: str, title: str | None) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=any(columns), box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    # A bracket in a path or a symbol is a bracket, not a colour.
    Console(width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, highlight=False).print(table)


def _print_anomalies(found: Book) -> None:
    from mbo.book import ANOMALIES

    if not found.anomalies:
        return
    table = _table("counted", "records", "the first: record, order, ts_event", "what was done", title=None)
    for rule, anomaly in found.anomalies.items():
        first = f"{anomaly.index:,}, {anomaly.order_id}, {format_time(anomaly.ts_event)}"
        table.add_row(rule, f"{anomaly.count:,}", first, ANOMALIES[rule])
    print()
    _print(table)


def _print_orders(found: Book, depth: int | None) -> None:
    from mbo.units import format_price

    table = _table("side", "price", "order_id", "size", "queue ahead", "since", title=None)
    for side in ("ask", "bid"):
        levels = found.depth(side) if depth is None else min(depth, found.depth(side))
        for level in range(levels):
            for order in found.orders(side, level=level):
                row: list[Any] = [side, format_price(order.price), order.order_id, f"{order.size:,}"]
                table.add_row(*map(str, row), f"{order.queue_ahead:,}", format_time(order.ts_event))
    print()
    _print(table)


def _print_outcome(name: str, outcome: Outcome) -> None:
    from mbo.book.render import bbo_text
    from mbo.run import MBP_FORMATS

    table = _table("", "", title=None)
    table.add_row("input", name)
    table.add_row("messages", f"{outcome.sent:,} sent, {outcome.messages:,} applied, in {outcome.events:,} events")
    pace = "as fast as they were applied" if outcome.rate is None else f"{outcome.rate:,.0f} asked for"
    table.add_row("rate", f"{outcome.messages / outcome.elapsed_s:,.0f} messages/s ({pace}), {outcome.elapsed_s:.3f} s")
    since = "sending" if outcome.rate is None else "the time due"
    table.add_row("latency", f"from {since} to the book: {outcome.latency}")
    if (report := outcome.verification) is not None:
        exceptions = f"{report.explained:,} exceptions explained, {report.unexplained:,} not"
        table.add_row("rules", f"{len(report.rules)} rules checked {report.checked:,} times: {exceptions}")
    _print(table)
    books = _table("book", "orders", "best bid", "best ask", "synced", "counted", "file", title=None)
    for found, path in zip(outcome.books.values(), outcome.files.values(), strict=True):
        counted = ", ".join(f"{rule} {anomaly.count:,}" for rule, anomaly in found.anomalies.items()) or "nothing"
        bid, ask = bbo_text(found)
        books.add_row(
            found.symbol, f"{found.status.orders:,}", bid, ask, "yes" if found.synced else "no", counted, str(path)
        )
    print()
    _print(books)
    records = sum(max(written.values()) for written in outcome.mbp_files.values())
    print(
        f"\nMBP-10: {records:,} records in {outcome.summary_file.parent / 'SYMBOL.mbp-10'}{{{','.join(MBP_FORMATS)}}}"
    )
    if outcome.stored is not None:
        print(
            f"store: {', '.join(f'{count:,} {table}' for table, count in outcome.stored.rows.items())} in {outcome.store}"
        )
    print(f"summary: {outcome.summary_file}")
