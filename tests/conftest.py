"""What all tests share: the real images, where they are, and a cache of the tests' own."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's doing, and says nothing of what is tested; nor does what a run happens to draw.
settings.register_profile(
    "any machine", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# Each worker of pytest-xdist has its share of the cores, in torch and in what it starts: with all of them each, they wait for
# one another, and the tests take twice as long. Read when torch is imported, which is later.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
if WORKERS > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // WORKERS)))

# Loops are compiled once for all workers and processes, whatever cache a test has: it takes half a minute.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "compiled"))

REAL = Path(os.environ.get("PRIORSCOPE_DATA", "") or "/nowhere")


@pytest.fixture(autouse=True)
def drawn_anew(request: pytest.FixtureRequest) -> None:
    """A test draws the same numbers wherever it stands in a run, whatever was drawn before it."""
    import torch

    torch.manual_seed(zlib.crc32(request.node.nodeid.encode()) + int(os.environ.get("PRIORSCOPE_TEST_SEED", 0)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on real images are skipped, with the reason, where there are none."""
    if (REAL / "cifar10").is_dir():
        return
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason="PRIORSCOPE_DATA does not name the folder of real images"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real images and published weights."""
    return REAL


Answer = Callable[[str, Mapping[str, str]], tuple[int, dict[str, str], bytes]]
"""What a server says to a path and the headers of a request: status, headers of its own, content."""


@pytest.fixture(scope="session")
def loopback() -> Iterator[Callable[[Answer], str]]:
    """Starts servers on this machine, which run until the tests have ended, and gives their addresses.

    One that names a Content-Length beyond its content cuts the connection after it.
    """
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, content = answer(self.path, self.headers)
                headers = {"Content-Length": str(len(content)), **headers}
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)
                    self.close_connection = int(headers["Content-Length"]) > len(content)

            do_HEAD = do_GET  # noqa: N815  (the name that http.server asks for)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def files_over_http(loopback: Callable[[Answer], str]) -> Callable[[Mapping[str, bytes]], str]:
    """Serves a table of files, path -> content, as it stands when each is asked for; 404 for every other path."""

    def serve(files: Mapping[str, bytes]) -> str:
        def answer(path: str, _: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
            content = files.get(path.strip("/"))
            return (404, {}, b"") if content is None else (200, {}, content)

        return loopback(answer)

    return serve


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    before = os.environ.get("PRIORSCOPE_CACHE")
    os.environ["PRIORSCOPE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["PRIORSCOPE_CACHE"]
    else:
        os.environ["PRIORSCOPE_CACHE"] = before
