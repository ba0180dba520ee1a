"""Command `serve`: the report on this machine's own address, for browsers that restrict pages opened from a disk."""

import functools
import sys
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from job.contracts.paths import SITE
from job.errors import UserError


def run(port: int, path: Path = SITE) -> str:
    """Serve a folder, or the site/ in it, on localhost until interrupted; port 0 takes a free one."""
    folder = next((one for one in (path, path / "site") if (one / "index.html").is_file()), None)
    if folder is None:
        raise UserError(
            f"{path / 'index.html'} does not exist: run `make report`, or `python -m job score --site`, first"
        )
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"port {port} cannot be opened ({error}): name another with --port") from None
    with server:
        sys.stdout.write(f"serving {folder}/ at http://127.0.0.1:{server.server_port}/ until Ctrl-C\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return "\nstopped"
