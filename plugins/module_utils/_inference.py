# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to an OpenAI-compatible server: is it healthy, what does it serve, how fast does it answer.

The role vllm puts this file on hosts, beside what a timer runs: it needs nothing but Python.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import typing as t
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import HTTPDefaultErrorHandler, HTTPErrorProcessor, HTTPHandler, HTTPSHandler, OpenerDirector, Request, UnknownHandler

REQUESTS = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^\n]*\})? +([0-9.]+(?:[eE][+-]?[0-9]+)?)", re.M)


class NoAnswer(Exception):
    """The server did not answer as it should; the message says what was seen last."""


class Server:
    """One server. ``timeout`` (seconds) is that of a single request."""

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 60, validate_certs: bool = True) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        context = ssl.create_default_context()
        if not validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        # HTTP and nothing else: no proxy, and no other address that an answer leads to.
        self.opener = OpenerDirector()
        for handler in (HTTPHandler(), HTTPSHandler(context=context), HTTPErrorProcessor(), HTTPDefaultErrorHandler(), UnknownHandler()):
            self.opener.add_handler(handler)
        self.headers = {"Content-Type": "application/json"}
        if api_key:
            self.headers["Authorization"] = f"Bearer {api_key}"

    def request(self, path: str, body: dict[str, t.Any] | None = None, timeout: float | None = None) -> t.Any:
        """The open response of one request; any failure is a ``NoAnswer``."""
        data = json.dumps(body).encode() if body is not None else None
        try:
            request = Request(self.url + path, data, self.headers)  # noqa: S310 - the opener knows HTTP alone
            return self.opener.open(request, timeout=timeout or self.timeout)
        except HTTPError as error:
            said = error.read(400).decode("utf-8", "replace").strip()
            raise NoAnswer(f"{path} answered {error.code}{': ' + said if said else ''}") from error
        except (URLError, OSError, ValueError, HTTPException) as error:
            raise NoAnswer(f"{path}: {getattr(error, 'reason', None) or str(error) or type(error).__name__}") from error

    def healthy(self, timeout: float) -> None:
        """Return if the server says that it is well, within ``timeout`` seconds; else ``NoAnswer``."""
        try:
            self.request("/health", timeout=min(timeout, self.timeout)).read()
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"/health: {error}") from error

    def models(self) -> list[str]:
        """The names the server serves."""
        try:
            return [str(entry["id"]) for entry in json.loads(self.request("/v1/models").read())["data"]]
        except (ValueError, KeyError, TypeError, OSError, HTTPException) as error:
            raise NoAnswer("/v1/models: the answer is not a list of models") from error

    def requests(self) -> int:
        """How many requests run or wait, over all models and engines of the server."""
        try:
            text = self.request("/metrics").read().decode("utf-8", "replace")
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"/metrics: {error}") from error
        values = REQUESTS.findall(text)
        if not values:
            raise NoAnswer("/metrics: vLLM's numbers of requests are not among them")
        return round(sum(float(value) for value in values))

    def completion(self, model: str, prompt: str, max_tokens: int, timeout: float) -> dict[str, t.Any]:
        """One streamed completion: ``text``, ``tokens``, time to the first token and per further token, in ms.

        The server may be silent for ``timeout`` seconds: the first completion may compile kernels.
        """
        body = {
            "model": model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        start = time.monotonic()
        first = last = None
        pieces: list[str] = []
        tokens = 0
        complete = False
        try:
            for line in self.request("/v1/completions", body, timeout):
                complete = complete or line.strip() == b"data: [DONE]"
                if complete or not line.startswith(b"data: "):
                    continue
                event = json.loads(line[6:])
                if event.get("error"):
                    raise NoAnswer(f"/v1/completions: {event['error']}")
                tokens = int((event.get("usage") or {}).get("completion_tokens", tokens))
                for choice in event.get("choices") or []:
                    last = time.monotonic()
                    first = first or last
                    pieces.append(choice.get("text") or "")
        except socket.timeout as error:
            raise NoAnswer(f"/v1/completions: nothing came for {timeout:.0f} s; where kernels are compiled, give it longer") from error
        except (ValueError, TypeError, AttributeError, OSError, HTTPException) as error:
            raise NoAnswer(f"/v1/completions: the stream broke off ({error})") from error
        if first is None or last is None:
            raise NoAnswer("/v1/completions: the answer holds no text")
        if not complete:
            raise NoAnswer(f"/v1/completions: the stream broke off after {len(pieces)} pieces of text")
        further = (last - first) / (tokens - 1) if tokens > 1 else None
        return {
            "text": "".join(pieces),
            "tokens": tokens,
            "time_to_first_token_ms": round((first - start) * 1000, 1),
            "time_per_output_token_ms": round(further * 1000, 1) if further is not None else None,
        }
