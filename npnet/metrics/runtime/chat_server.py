"""A client of a vision-language model behind an OpenAI-compatible address; each request has one picture."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from PIL.Image import Image

from npnet.errors import FieldError, UserError, one_line
from npnet.untrusted import parse_json

BUSY = (408, 429, 500, 502, 503, 504)
"""HTTP answers that ask for another attempt."""


class ChatServer:
    """Asks at temperature 0, and remembers which model the server says that it is.

    Args:
        url: of the API, up to ``/v1``.
        model: as the server calls it.
        key_variable: the environment variable that holds the API key; None sends no key.
        timeout_seconds: for one answer.
        attempts: to get one answer, where the server is busy or cannot be reached.

    Raises:
        FieldError: the environment variable of the key is not set.
        UserError: the address cannot be reached; it is tried before a picture is made.
    """

    def __init__(
        self, url: str, model: str, key_variable: str | None, timeout_seconds: float = 120.0, attempts: int = 3
    ) -> None:
        self.url, self.model, self.answered_by = url, model, set[str]()
        self._timeout, self._attempts = timeout_seconds, attempts
        key = None if key_variable is None else os.environ.get(key_variable)
        if key_variable is not None and not key:
            raise FieldError("key_variable", key_variable, "this environment variable is not set")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._reach()

    def ask(self, picture: Image, question: str, **options: Any) -> dict[str, Any]:
        """Return the server's first choice: ``message`` and what else ``options`` ask for.

        Raises:
            UserError: the server cannot be reached, refuses, or answers in another form.
        """
        file = io.BytesIO()
        picture.save(file, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": question}]
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": parts}],
            "temperature": 0,
            "seed": 0,
            **options,
        }
        answer = self._post(json.dumps(asked).encode())
        try:
            choice = answer["choices"][0]
            choice["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise self.refused("the answer is not of the OpenAI form") from None
        self.answered_by.add(str(answer.get("model") or self.model))
        return choice

    def refused(self, reason: str) -> UserError:
        """Return the error that says why the server's answer cannot be used."""
        return UserError(f"the judge at {self.url}: {reason}")

    def _reach(self) -> None:
        with contextlib.suppress(urllib.error.HTTPError):  # not every server lists its models, but one is there
            self._fetch("models", busy=())

    def _post(self, body: bytes) -> Any:
        try:
            return parse_json(self._fetch("chat/completions", body))
        except urllib.error.HTTPError as error:
            said = one_line(error.read(300).decode(errors="replace"))
            raise self.refused(f"HTTP {error.code}: {said}") from error
        except ValueError as error:
            raise self.refused(f"the answer is no JSON: {one_line(error)[:100]}") from error

    def _fetch(self, path: str, body: bytes | None = None, busy: Sequence[int] = BUSY) -> bytes:
        """Return the answer to a request, asked again where the server cannot be reached or is ``busy``."""
        request = urllib.request.Request(f"{self.url.rstrip('/')}/{path}", body, self._headers)
        attempt = 0
        while True:
            attempt += 1
            last = attempt == self._attempts
            try:
                with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                if last or error.code not in busy:
                    raise
            except OSError as error:
                if last:
                    raise self.refused(f"cannot be reached: {one_line(error)}") from error
            time.sleep(2.0 ** (attempt - 1))
