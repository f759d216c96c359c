"""Stands in for the image of ClickHouse's server: the same engine out of libchdb.so, with the stack's own users and their rights.

`python3 clickhouse.py LIBCHDB_SO`: it reads the users where the server would, keeps its data in /var/lib/clickhouse, and answers
over HTTP on all addresses of its container. Its own statement, which keeps it serving, takes the user `default`: that one is added,
for the container alone. What it lacks is the server's own configuration.
"""

import ctypes
import os
import sys
from pathlib import Path

USERS = Path("/etc/clickhouse-server/mbo_users.xml")
CONFIG = """<clickhouse>
    <user_directories><users_xml><path>/tmp/users.xml</path></users_xml></user_directories>
</clickhouse>
"""
DEFAULT = """<default>
    <password/><networks><ip>127.0.0.1</ip><ip>::1</ip></networks><profile>default</profile><quota>default</quota>
</default>
</users>"""


def main() -> int:
    """Serve until a signal ends the process."""
    config = Path("/tmp/config.xml")
    config.write_text(CONFIG)
    Path("/tmp/users.xml").write_text(USERS.read_text().replace("</users>", DEFAULT))
    wait, _ = os.pipe()  # never written to: the last statement below reads it without end
    os.dup2(wait, 0)
    words = [
        "clickhouse-local", "--config-file", str(config), "--path", "/var/lib/clickhouse",
        "--listen_host", "0.0.0.0", "--http_port", "8123", "--query",
        "SYSTEM START LISTEN HTTP; SELECT count() FROM file('/dev/stdin', LineAsString, 'line String') FORMAT Null",
    ]  # fmt: skip
    engine = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
    run = engine.query_stable_v2
    run.restype, run.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    run(len(words), (ctypes.c_char_p * (len(words) + 1))(*[word.encode() for word in words], None))
    return 1


if __name__ == "__main__":
    sys.exit(main())
