"""Is the service of this container well? `python health.py gateway|api|dashboard`: exit code 0, or 1 and what is wrong.

Without a word it looks at whatever listens here, and something has to. A gateway is well when it greets, which its event loop does;
the API when it is ready, feed, recorder and store included; the dashboard when it serves its page's script.
"""

import socket
import sys
import urllib.error
import urllib.request

LIMIT_S = 4.0
PORTS = {"gateway": 13_000, "api": 8_000, "dashboard": 5_006}
PAGES = {"api": "/readyz", "dashboard": "/static/js/bokeh.min.js"}


def listens(service: str) -> bool:
    """Say whether anything is at its port."""
    with socket.socket() as link:
        link.settimeout(LIMIT_S)
        return link.connect_ex(("127.0.0.1", PORTS[service])) == 0


def greeting() -> str:
    """Ask the gateway for its first words; gives what is wrong."""
    with socket.create_connection(("127.0.0.1", PORTS["gateway"]), LIMIT_S) as link:
        words = link.recv(64)
    return "" if words.startswith(b"lsg_version=") else f"it says {words!r}"


def page(service: str) -> str:
    """Ask for its page; gives what is wrong."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORTS[service]}{PAGES[service]}", timeout=LIMIT_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(500).decode(errors='replace')}"
    return ""


def look(service: str) -> str:
    """Look at one service; gives what is wrong."""
    try:
        return greeting() if service == "gateway" else page(service)
    except OSError as error:
        return str(error)


def main() -> int:
    """Look once."""
    services = sys.argv[1:] or [service for service in PORTS if listens(service)]
    wrong = {service: found for service in services if (found := look(service))}
    for service, found in wrong.items():
        print(f"{service}: {found}")
    return 1 if wrong or not services else 0


if __name__ == "__main__":
    sys.exit(main())
