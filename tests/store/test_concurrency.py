"""Several ingests at a time: of different files, and of the same file twice, in threads and in processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mbo
from mbo.store import Store
from tests.store.conftest import several_days, unique_dataset
from tests.store.exact import exact, file_id
from tests.store.killing import ingests


def in_processes(url, paths) -> list[str]:
    """Ingest every path in a process of its own, all at once; give what they print."""
    with ingests() as each:
        running = [next(each) for _ in paths]
        for ingest, path in zip(running, paths, strict=True):
            ingest.go(url, path)
        ended = [ingest.end() for ingest in running]
    assert [(code, err) for code, _, err in ended] == [(0, "")] * len(paths)
    return [out for _, out, _ in ended]


def test_different_files_in_threads_of_one_store(store, make):
    paths = [make(several_days(4_000, 4, seed=70 + number), f"{number}.dbn") for number in range(3)]
    with ThreadPoolExecutor(len(paths)) as threads:
        reports = list(threads.map(store.ingest, paths))
    assert [report.rows["messages"] for report in reports] == [4_000] * 3
    for path in paths:
        exact(store, path)


def test_one_file_in_two_threads_of_one_store(store, make):
    path = make(several_days(6_000, 6, seed=74))
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(store.ingest, [path, path])
    assert one.rows == other.rows
    exact(store, path)


def test_queries_while_a_file_is_ingested_see_whole_files_only(store, make):
    dataset = unique_dataset()
    first, second = (
        make(several_days(3_000, 3, seed=75), "first.dbn", dataset=dataset),
        make(mbo.simulate(3_000, seed=76).records, "second.dbn", dataset=dataset),
    )
    store.ingest(first)
    sql = """
        SELECT count() AS n FROM mbo.messages
        WHERE file_id IN (SELECT file_id FROM mbo.files WHERE dataset = {dataset:String})
    """
    with ThreadPoolExecutor(1) as threads:
        ingesting = threads.submit(store.ingest, second, overlap="allow")
        counts = {3_000}
        while not ingesting.done():
            counts.add(store.query(sql, dataset=dataset)["n"][0].as_py())
        ingesting.result()
    assert counts <= {3_000, 6_000}
    exact(store, second)


def test_different_files_by_two_processes_at_one_server(http_url, make):
    paths = [make(several_days(20_000, 5, seed=78 + number), f"process{number}.dbn") for number in range(2)]
    said = in_processes(http_url, paths)
    assert all(out.startswith(f"{path.name}: 20,000 messages") for path, out in zip(paths, said, strict=True))
    with Store(http_url) as store:
        for path in paths:
            exact(store, path)


def test_one_file_by_two_processes_at_one_server(http_url, make):
    path = make(several_days(20_000, 10, seed=77), "both.dbn")
    in_processes(http_url, [path, path])
    with Store(http_url) as store:
        exact(store, path)
        sql = "SELECT count() AS n FROM mbo.files WHERE file_id = {id:UInt64}"
        assert store.query(sql, id=file_id(path)).to_pylist() == [{"n": 1}]
