"""Files in an object store, through pyarrow's file systems: a value with the interface of a path.

Readers never get a partial file: on a file system it is written under a temporary name and renamed, and an
object store shows an object only when it is complete. pyarrow cannot abandon an object that it has begun to
write: it completes it when the stream is dropped. So one that may have to be taken back is written under a
temporary name too, and copied. pyarrow is imported on first use.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from trainables.errors import StorageError

CONNECT_WITHIN_S = 5.0
GIVE_UP_AFTER_S = 30.0
PART = ".part"
"""The end of the name of a file that is not written to its end."""
COPIED_MOST = 5 * 1024**3
"""The largest object, in bytes, that S3 copies in one request."""
_OPTIONS = {
    "file": (),
    "s3": ("endpoint_override", "region", "scheme"),
    "gs": ("endpoint_override", "retry_limit_seconds", "scheme"),
    "abfs": ("blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority", "dfs_storage_scheme"),
}
"""Schemes, and the options that may follow the `?`. None of them is a secret."""
_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
_HOME = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
}


def uri_fault(uri: str) -> str | None:
    """The error in a store's URI, or None. The URI is never quoted, as it may contain a secret."""
    try:
        parts = urlsplit(uri)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:  # the error's text may contain parts of the URI
        return "is not a URI; for example s3://bucket/folder"
    if parts.scheme not in _OPTIONS:
        known = ", ".join(f"{scheme}://" for scheme in _OPTIONS)
        return f"must be the URI of a folder that begins with one of {known}, for example s3://bucket/folder"
    names = [name for name, _ in options]
    if any(_is_secret(name) or "@" in value for name, value in options) or _holds_a_user(parts.scheme, uri):
        where = _HOME.get(parts.scheme, "the environment")
        return (
            "must not contain a key or password, as the file is recorded;"
            f" set them in {where}, or use the machine's role"
        )
    allowed = _OPTIONS[parts.scheme]
    for name in names:
        if name not in allowed:
            takes = f"accepts {', '.join(allowed)}" if allowed else "accepts no options"
            return f"has the unknown option '{name}'; {parts.scheme}:// {takes}"
    if parts.fragment:
        return "must not contain a '#'; write it as %23"
    if parts.scheme == "file" and (parts.netloc or len(parts.path) < 2):
        return "needs an absolute folder: file:///folder"
    if parts.scheme != "file" and not parts.hostname:
        return f"needs a bucket: {parts.scheme}://bucket/folder"
    return None


def _holds_a_user(scheme: str, uri: str) -> bool:
    """Whether there is text before an '@'. All of the URI is checked: a secret may contain '/' or '?'."""
    if scheme == "file":
        return False
    user, at, _ = uri.partition("://")[2].rpartition("@")
    # Azure's user is the container, and Google's may be `anonymous`; S3's would be the access key.
    harmless = (scheme == "gs" and user == "anonymous") or (
        scheme == "abfs" and not any(character in user for character in ":/@")
    )
    return bool(at) and not harmless


def _is_secret(option: str) -> bool:
    return any(
        part in option.lower()
        for part in ("key", "secret", "token", "passw", "pwd", "sas", "signature", "credential")
    )


@dataclass(frozen=True)
class StorePath:
    """A file or folder in a store. It can be pickled, and `str` gives a URI that `place` parses.

    Every method raises StorageError if the store does not answer or refuses.
    """

    base: str
    """Scheme, bucket and options."""
    path: str
    """The path in the bucket, starting with `/`; not percent-encoded."""

    @classmethod
    def of(cls, uri: str) -> StorePath:
        """Parse a URI. Raises StorageError for the errors of `uri_fault`."""
        if (fault := uri_fault(uri)) is not None:
            raise StorageError(f"the store's URI {fault}")
        parts = urlsplit(uri)
        return cls(parts._replace(path="").geturl(), "/" + unquote(parts.path).strip("/"))

    def __str__(self) -> str:
        head, _, options = self.base.partition("?")
        if head == "file:":
            head = "file://"
        return head + quote(self.path) + (f"?{options}" if options else "")

    def __truediv__(self, name: str) -> StorePath:
        return replace(self, path=f"{self.path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        """Whether the file exists."""
        return bool(sizes([self])[0])

    is_file = exists

    def read_bytes(self) -> bytes:
        """The content of the file. Raises FileNotFoundError if it does not exist."""
        system, path = self._there()
        try:
            with system.open_input_stream(path) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            raise
        except OSError as error:
            self._refused(error)

    def write_bytes(self, *parts: bytes, ready: Callable[[], None] | None = None) -> None:
        """Replace the content of the file with `parts`, one after the other: all or nothing.

        ready: called once everything is in the store under another name; what it raises leaves the file as it
        was. Of more than `COPIED_MOST` bytes it is called before they are sent.
        """
        system, path = self._there()
        local = system.type_name == "local"
        try:
            if ready is not None and not local and sum(map(len, parts)) > COPIED_MOST:
                ready()
                ready = None
            if ready is None and not local:
                _stream(system, path, parts)
                return
            folder, _, name = path.rpartition("/")
            part = f"{folder}/.{name}.{uuid.uuid4().hex}{PART}"
            if local:
                system.create_dir(folder)
            try:
                _stream(system, part, parts)
                if ready is not None:
                    ready()
                if local:
                    system.move(part, path)
                else:  # Azure moves files in accounts of one kind only
                    system.copy_file(part, path)
            finally:
                with suppress(OSError):
                    system.delete_file(part)
        except OSError as error:
            self._refused(error)

    def remove_parts(self) -> None:
        """Remove what writers that died left in this folder. One that is writing now fails."""
        for name in self.files():
            if is_part(name):
                (self / name).unlink(missing_ok=True)

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove the file. Raises FileNotFoundError if it does not exist, unless `missing_ok`."""
        system, path = self._there()
        try:
            system.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise
        except OSError as error:
            self._refused(error)

    def files(self) -> dict[str, int]:
        """The size in bytes of every file below, by its relative path; empty if the folder is absent."""
        from pyarrow import fs

        system, path = self._there()
        try:
            found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        except OSError as error:
            self._refused(error)
        start = len(path.rstrip("/")) + 1
        return {info.path[start:]: int(info.size) for info in found if info.type is fs.FileType.File}

    def _there(self) -> tuple[Any, str]:
        try:
            system, root = _opened(self.base)
        except (OSError, ValueError, NotImplementedError) as error:
            self._refused(error)
        return system, root + self.path

    def _refused(self, error: Exception) -> NoReturn:
        raise StorageError(f"{self}: the store refuses, or does not answer: {_brief(error)}") from error


Place = Path | StorePath
"""The location of a checkpoint."""


def place(text: str) -> Place:
    """Parse the text that `str` makes from either."""
    return StorePath.of(text) if "://" in text else Path(text)


def sizes(places: Sequence[Place]) -> list[int]:
    """The bytes of each file, 0 if it does not exist. Files of one store are requested together."""
    stored = {at: index for index, at in enumerate(places) if isinstance(at, StorePath)}
    found = [0] * len(places)
    for index, at in enumerate(places):
        if isinstance(at, Path):
            with suppress(OSError):
                found[index] = at.stat().st_size
    for base in {at.base for at in stored}:
        same = [at for at in stored if at.base == base]
        system, _ = same[0]._there()
        try:
            infos = system.get_file_info([at._there()[1] for at in same])
        except OSError as error:
            same[0]._refused(error)
        for at, info in zip(same, infos, strict=True):
            found[stored[at]] = int(info.size or 0) if info.is_file else 0
    return found


def is_part(name: str) -> bool:
    """Whether a name in a folder is of a file that is not written to its end."""
    return name.startswith(".") and name.endswith(PART)


def _stream(system: Any, path: str, parts: Sequence[bytes]) -> None:
    # Not as a context manager: its exit after a failed write would store a partial object.
    stream = system.open_output_stream(path)
    for part in parts:
        stream.write(part)
    stream.close()


@lru_cache(maxsize=8)
def _opened(base: str) -> tuple[Any, str]:
    """The file system of a store, and the path of its bucket in it."""
    from pyarrow import fs

    parts = urlsplit(base)
    if parts.scheme == "file":
        return fs.LocalFileSystem(), ""
    if parts.scheme == "gs" and "retry_limit_seconds" not in parts.query:
        base += f"{'&' if parts.query else '?'}retry_limit_seconds={GIVE_UP_AFTER_S:g}"  # or 15 minutes
    if parts.scheme != "s3":
        system, root = fs.FileSystem.from_uri(base)
        return system, root.rstrip("/")
    options = dict(parse_qsl(parts.query))
    endpoint = options.get("endpoint_override", "")
    if "://" in endpoint:  # pyarrow takes the two as separate options
        options["scheme"], _, options["endpoint_override"] = endpoint.partition("://")
    region = options.pop("region", None) or next(filter(None, map(os.environ.get, _REGION)), None)
    if region is None:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(parts.netloc)
    # An object of one part is then written in a single request.
    system = fs.S3FileSystem(
        region=region, connect_timeout=CONNECT_WITHIN_S, allow_delayed_open=True, **options
    )
    return system, parts.netloc


def _brief(error: Exception) -> str:
    """The first line of the error, without the number of the request."""
    lines = (str(error).splitlines() or [type(error).__name__])[0]
    return lines.partition(" (Request ID")[0].strip()
