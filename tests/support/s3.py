"""A real S3 server on loopback, in its own process, with one bucket."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ports import free_port

BUCKET = "sweeps"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The variables that its clients and their workers need."""


@dataclass(frozen=True)
class Server:
    """The server, which listens at `port`."""

    process: subprocess.Popen[bytes]
    port: int

    def uri(self, folder: str, bucket: str = BUCKET) -> str:
        """The URI of a folder in the bucket, as `checkpoints.to` takes it."""
        return f"s3://{bucket}/{folder}?endpoint_override=http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Stop the server; its content is lost."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def s3_server() -> Iterator[Server]:
    """A running server. Needs `moto[s3]`, flask and flask-cors; its users must set `ENVIRONMENT`."""
    from pyarrow import fs

    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(process, port)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "moto's server did not start"
                assert time.monotonic() < deadline, "moto's server does not answer"
                time.sleep(0.05)
        options = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "region": "us-east-1"}
        fs.S3FileSystem(allow_bucket_creation=True, **options).create_dir(BUCKET)
        yield server
    finally:
        server.stop()
