"""Labels from a Neuronpedia site: one latent's, or all of a source.

``/api/explanation/export`` of the public site was removed in favour of the export files; it answers with their address,
and the files are read instead.
"""

from __future__ import annotations

import html
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO
from urllib.parse import quote, urlencode

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels import packed
from saewidgets.features.labels.http import (
    BadAnswerError,
    Client,
    Refused,
    ServerBusyError,
    ServerFailedError,
    bounded,
    is_private_line,
)
from saewidgets.features.labels.imported import Imported, OnError, checked_on_error, collect
from saewidgets.features.labels.label import Label
from saewidgets.features.labels.neuronpedia import BATCH, batch_order, explanations_of, labels_of
from saewidgets.settings import secret

SITE = "https://www.neuronpedia.org"
DATASETS = "https://neuronpedia-datasets.s3.us-east-1.amazonaws.com"
MAX_DOWNLOAD = 1 << 29  # bytes of one file, as it is sent
MAX_FILES = 10_000
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class NeuronpediaClient:
    """Reads labels from a Neuronpedia site and from its export files.

    Args:
        base_url: the site; a self-hosted one, too.
        datasets_url: the bucket of the export files.
        api_key_env: environment variable with a key of the site; most reading needs none.
        timeout, retries, sleep: as of `openai_compatible`.

    Raises:
        ConfigError: an argument cannot work, or a key would travel over an open line.
    """

    def __init__(
        self, base_url: str = SITE, datasets_url: str = DATASETS, *, api_key_env: str | None = None,
        timeout: float = 60.0, retries: int = 4, sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._site = Client(base_url, timeout=timeout, retries=retries, sleep=sleep)
        self._datasets = Client(datasets_url, timeout=timeout, retries=retries, sleep=sleep)
        if api_key_env is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", api_key_env):
            raise ConfigError(
                "This is not the name of an environment variable.", where="api_key_env",
                hint='Give the name in capitals ("NEURONPEDIA_API_KEY"), not the key.',
            )
        if api_key_env is not None and not is_private_line(self._site.base_url):
            raise ConfigError("A key would travel over an open line.", where="base_url", hint="Use https.")
        self._key_env = api_key_env

    def __repr__(self) -> str:
        return f"NeuronpediaClient({self._site.base_url!r}, {self._datasets.base_url!r})"

    def feature(self, model_id: str, source_id: str, index: int, d_sae: int | None = None) -> list[Label]:
        """The labels of one latent, with their scores.

        Raises:
            NotFoundError: there is no such latent there.
            RequestError: the site does not answer, or not as expected.
        """
        path = f"/api/feature/{_checked(model_id, 'model_id')}/{_checked(source_id, 'source_id')}/{int(index)}"
        try:
            data = self._site.json(path, headers=self._key(), limit=64_000_000)
        except Refused as refused:
            raise self._for_people(refused, f"{model_id}/{source_id}/{index}") from None
        explanations = data.get("explanations") if isinstance(data, dict) else None
        if not isinstance(explanations, list):
            raise BadAnswerError("The answer has no explanations.", where=self._site.host)
        rows = ((f"{self._site.host}, explanation {n}", row) for n, row in enumerate(explanations, 1))
        # The answer leaves out what was asked for.
        full = ((where, {"modelId": model_id, "layer": source_id, "index": str(index), **row}
                 if isinstance(row, dict) else row) for where, row in rows)
        return collect(labels_of(full, d_sae, [model_id, source_id]), "skip", self._site.host).labels

    def export(
        self, model_id: str, source_id: str, d_sae: int | None = None, *, on_error: OnError = "skip",
        control: Control | None = None, progress: Callable[[Progress], None] | None = None,
    ) -> Imported:
        """All labels of a source by the API; by the export files where the site says that it has moved there.

        Raises:
            NotFoundError, FormatError, RequestError: as of `explanations`.
        """
        checked_on_error(on_error)
        query = urlencode({"modelId": _checked(model_id, "model_id"), "saeId": _checked(source_id, "source_id")})
        try:
            data = self._site.json(f"/api/explanation/export?{query}", headers=self._key(), limit=MAX_DOWNLOAD)
        except Refused as refused:
            if refused.status in (404, 405, 410) or "newUrl" in refused.body:
                return self.explanations(
                    model_id, source_id, d_sae, on_error=on_error, control=control, progress=progress
                )
            raise self._for_people(refused, f"{model_id}/{source_id}") from None
        if not isinstance(data, list):
            raise BadAnswerError("The answer is not a list of explanations.", where=self._site.host)
        rows = ((f"{self._site.host}, explanation {n}", row) for n, row in enumerate(data, 1))
        return collect(labels_of(rows, d_sae, [model_id, source_id]), on_error, self._site.host)

    def explanations(
        self, model_id: str, source_id: str, d_sae: int | None = None, *, on_error: OnError = "skip",
        control: Control | None = None, progress: Callable[[Progress], None] | None = None,
    ) -> Imported:
        """All labels of a source, from the export files; those of several explaining models, if there are several.

        Args:
            model_id, source_id: Neuronpedia's names, as in the address of a feature.
            d_sae: latents of the SAE that they are for; None: not checked.
            on_error: as of `read_neuronpedia`.
            control: asked before every file.
            progress: called after every file.

        Raises:
            NotFoundError: there are no export files of that source.
            FormatError: a file is damaged, or labels are of latents that the SAE lacks.
            RequestError: the bucket does not answer, or not as expected.
        """
        checked_on_error(on_error)
        control = control or NullControl()
        keys = self.files(model_id, source_id)
        if not keys:
            raise NotFoundError(
                f"There are no export files of {model_id}/{source_id}.", where=self._datasets.host,
                hint="Check both names; they are those in the address of a feature.",
            )

        def downloaded() -> Iterator[tuple[str, Iterable[bytes]]]:
            for number, key in enumerate(keys):
                control.check()
                with tempfile.TemporaryFile() as file:
                    self._download(key, file)
                    yield "/".join(key.split("/")[-2:]), packed.lines(file, key)
                if progress is not None:
                    progress(Progress(number + 1, len(keys), "files", phase="downloading"))

        return collect(explanations_of(downloaded(), d_sae, [model_id, source_id]), on_error, self._datasets.host)

    def files(self, model_id: str, source_id: str) -> list[str]:
        """The names of the export files of a source in the bucket, in the order of their batches."""
        prefix = f"v1/{_checked(model_id, 'model_id')}/{_checked(source_id, 'source_id')}/explanations"
        wanted = re.compile(rf"{re.escape(prefix)}[\w.-]*/{BATCH.pattern}")
        found: list[str] = []
        token: str | None = None
        for _ in range(100):
            query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
            listing = self._text(f"/?{urlencode(query)}")
            found += [key for key in map(html.unescape, re.findall(r"<Key>([^<]*)</Key>", listing))
                      if wanted.fullmatch(key) and ".." not in key]
            following = re.search(r"<NextContinuationToken>([^<]+)</NextContinuationToken>", listing)
            if following is None or len(found) > MAX_FILES:
                break
            token = html.unescape(following[1])
        if len(found) > MAX_FILES:
            raise BadAnswerError(f"The source has more than {MAX_FILES:,} files.", where=self._datasets.host)
        return sorted(found, key=batch_order)

    def _text(self, path: str) -> str:
        try:
            with self._datasets.request(path) as chunks:
                raw = b"".join(bounded(chunks, 16_000_000, self._datasets.host))
        except Refused as refused:
            raise self._for_people(refused, "the list of export files") from None
        return raw.decode("utf-8", "replace")

    def _download(self, key: str, file: BinaryIO) -> None:
        try:
            with self._datasets.request(f"/{quote(key)}") as chunks:
                for chunk in bounded(chunks, MAX_DOWNLOAD, self._datasets.host):
                    file.write(chunk)
        except Refused as refused:
            raise self._for_people(refused, key) from None
        file.seek(0)

    def _key(self) -> dict[str, str]:
        key = secret(self._key_env) if self._key_env else None
        if self._key_env and (key is None or not re.fullmatch(r"[\x21-\x7e]{1,1000}", key)):
            raise ConfigError(
                f"The environment variable {self._key_env} is not set to a key.", where="api_key_env",
                hint="Set it, or leave api_key_env out: most reading needs no key.",
            )
        return {"x-api-key": key} if key else {}

    def _for_people(self, refused: Refused, what: str) -> Exception:
        host = self._site.host
        if refused.status == 404:
            return NotFoundError(f"{what} does not exist there.", where=host, hint="Check both names and the number.")
        if refused.status == 429:
            return ServerBusyError(
                f"The site's limit of requests is reached: {refused.message}", where=host,
                hint="Wait an hour, or read the export files (`explanations`), which have no limit.",
            )
        return ServerFailedError(f"{what} is refused (status {refused.status}): {refused.message}", where=host)


def _checked(value: str, where: str) -> str:
    if not _ID.fullmatch(value) or ".." in value:
        raise ConfigError(
            f"{value[:80]!r} is not a name of Neuronpedia's.", where=where,
            hint="It is a part of a feature's address: gemma-2-2b/20-gemmascope-res-16k/123.",
        )
    return value
