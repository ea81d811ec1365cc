"""Downloads files of known digests; goes on where a download was cut off."""

from collections.abc import Sequence
import functools
import http.client
import os
import pathlib
import threading
from typing import NamedTuple
import urllib.error
import urllib.parse
import urllib.request

from dm_jax.errors import InputError, first_line
from dm_jax.files import locked
from dm_jax.words import format_bytes

PROBE = 'https://storage.googleapis.com'  # Where tfds finds most of its sets.
_PIECE = 2**16  # Bytes.

Path = pathlib.Path


class File(NamedTuple):
  """A file of the network.

  Attributes:
    url: ends with the file's name.
    sha256: 64 hexadecimal digits.
  """

  url: str
  sha256: str

  @property
  def name(self) -> str:
    return self.url.rsplit('/', 1)[-1]


def answers(url: str = PROBE, seconds: float = 4.0) -> bool:
  """Returns whether a server answers, directly or through a proxy.

  Args:
    url: of the server; "not found" is an answer, too.
    seconds: to wait for it.
  """
  answered = []

  def ask() -> None:
    try:
      with urllib.request.urlopen(url, timeout=seconds):
        answered.append(url)
    except urllib.error.HTTPError:
      answered.append(url)
    except (OSError, http.client.HTTPException):
      pass

  # No timeout ends the look-up of a name, which may hang for a minute.
  asking = threading.Thread(target=ask, daemon=True)
  asking.start()
  asking.join(seconds)
  return bool(answered)


def fetch(
  files: Sequence[File], folder: Path, *, seconds: float = 30.0
) -> None:
  """Downloads what is not in a folder yet; everything in it is checked.

  A file appears under its name when it is whole and its digest is right. Until
  then it is `.NAME.part`, where the next call goes on, in this process or in
  another. Processes that want the same folder wait for each other.

  Args:
    files: all that must be there afterwards.
    folder: is made where a download begins.
    seconds: how long a server may be silent.

  Raises:
    InputError: one line that names the file, what is wrong, and where to lay it
      by hand.
  """
  _check_answers(_missing(files, folder), folder)
  for file in files:
    if (folder / file.name).is_file():
      check_digest(file, folder)
    else:
      _download(file, folder, seconds)


def check_digest(file: File, folder: Path) -> None:
  """Raises InputError, naming both digests, if a file is another one."""
  import pooch

  path = folder / file.name
  found = pooch.file_hash(path)
  if found != file.sha256:
    raise InputError(
      f'{path} has the SHA-256 {found}, not {file.sha256}, as {file.url} has:'
      ' delete it, and it is downloaded, or lay a whole one there'
    )


def _missing(files: Sequence[File], folder: Path) -> list[File]:
  return [file for file in files if not (folder / file.name).is_file()]


def _check_answers(missing: list[File], folder: Path) -> None:
  """Raises InputError, within seconds, where there is no network."""
  if not missing:
    return
  parts = urllib.parse.urlsplit(missing[0].url)
  server = f'{parts.scheme}://{parts.netloc}'
  if not answers(server):
    urls = ' and '.join(file.url for file in missing)
    raise InputError(
      f'{server} does not answer: get {urls} elsewhere and lay it into'
      f' {folder.absolute()}'
    )


def _download(file: File, folder: Path, seconds: float) -> None:
  import pooch
  import urllib3

  part = folder / f'.{file.name}.part'
  by_hand = f'or lay {file.name} into {folder.absolute()}'
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / '.download.lock'
    with locked(lock, f'waiting for another process to download {file.name}'):
      # Whatever another process has left there meanwhile is checked, too.
      pooch.retrieve(
        file.url,
        f'sha256:{file.sha256}',
        file.name,
        folder,
        downloader=functools.partial(_go_on, part=part, seconds=seconds),
      )
  except (OSError, urllib3.exceptions.HTTPError) as error:
    kept = format_bytes(part.stat().st_size) if part.is_file() else 'nothing'
    raise InputError(
      f'{file.url} was not downloaded ({first_line(error)}; {kept} kept):'
      f' start the same command again, and it goes on from there, {by_hand}'
    ) from error
  except ValueError as error:  # Of pooch, with both digests.
    reason = first_line(error).split('. ')[0]
    raise InputError(
      f'{file.url}: {reason}: nothing is kept; start the same command again,'
      f' {by_hand}'
    ) from error


def _go_on(url: str, output: str, _, *, part: Path, seconds: float) -> None:
  """Downloads to `part`, from where that ends, and renames it when whole."""
  import requests
  from tqdm import tqdm

  start = part.stat().st_size if part.is_file() else 0
  # The file's own bytes: of compressed files some servers say that they are
  # compressed for the way.
  headers = {'Accept-Encoding': 'identity'}
  if start:
    headers['Range'] = f'bytes={start}-'
  with requests.get(
    url, headers=headers, stream=True, timeout=seconds
  ) as answer:
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
      os.replace(part, output)  # It was whole, or it is nothing: see digest.
      return
    answer.raise_for_status()
    if answer.status_code != requests.codes.partial_content:
      start = 0  # This server always begins at the beginning.
    length = answer.headers.get('Content-Length')
    total = None if length is None else start + int(length)
    with (
      part.open('ab' if start else 'wb') as file,
      # disable=None: no bar unless standard error is a terminal.
      tqdm(
        initial=start,
        total=total,
        desc=part.name[1 : -len('.part')],
        unit='B',
        unit_scale=True,
        disable=None,
      ) as bar,
    ):
      for piece in answer.raw.stream(_PIECE, decode_content=False):
        file.write(piece)
        bar.update(len(piece))
  if total is not None and part.stat().st_size != total:
    raise OSError(f'it ended before its {format_bytes(total)}')
  os.replace(part, output)
