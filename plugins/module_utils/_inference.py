# Copyright: (c) 2026, the amdgpu.fleet authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talking to an OpenAI-compatible server: is it healthy, what does it serve, how fast does it answer.

The role serve puts this file on hosts, beside what a timer runs: it needs nothing but Python. It is one file
for that reason, though a long one.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import ssl
import struct
import time
import typing as t
from http.client import HTTPException, IncompleteRead
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
    UnknownHandler,
)

# As vLLM and llama.cpp's server call them.
REQUESTS = re.compile(
    r"^(?:vllm:num_requests_(?:running|waiting)|llamacpp:requests_(?:processing|deferred))"
    r"(?:\{[^\n]*\})? +([0-9.]+(?:[eE][+-]?[0-9]+)?)",
    re.M,
)

# What a completion goes on from: whoever reads the answer knows whether it is right.
PROMPT = "The capital of France is"
TRANSCRIPTIONS = "/v1/audio/transcriptions"
# What is asked of servers that give no completions, path by path until there is one.
POOLING: tuple[str, dict[str, t.Any]] = ("/pooling", {"input": "a"})
QUESTIONS: dict[str, list[tuple[str, dict[str, t.Any]]]] = {
    "embed": [("/v1/embeddings", {"input": "a"}), POOLING],
    "score": [("/score", {"text_1": "a", "text_2": "b"}), ("/classify", {"input": "a"}), POOLING],
    "classify": [("/classify", {"input": "a"}), ("/score", {"text_1": "a", "text_2": "b"}), POOLING],
    "pooling": [POOLING],
    "transcription": [(TRANSCRIPTIONS, {"response_format": "json"})],
}
# Where the first entry of an answer has what was asked for.
KEYS = {"/v1/embeddings": "embedding", "/score": "score", "/classify": "probs", "/pooling": "data"}
# Where a server says its own version.
VERSIONS = (("/version", "version"), ("/props", "build_info"))
# Bytes of an answer, and of one line of it; more is none that was asked for.
LARGEST, LONGEST_LINE = 4 << 20, 1 << 20
# Seconds for which a server may say nothing before it is taken for one that does not answer: llama.cpp's
# tells its metrics between two batches, and a batch of a long prompt takes many seconds on processors.
SILENCE = 60
# Seconds for which a router must be seen to do nothing.
CALM = 2
# No completion has as many tokens.
MOST_TOKENS = 1 << 32


@contextlib.contextmanager
def within(seconds: float) -> t.Iterator[None]:
    """Raise ``socket.timeout`` in what takes longer. The timeout of a socket is for each piece: one that
    trickles never ends."""

    def late(_signal: int, _frame: object) -> None:
        raise socket.timeout(f"it took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    # Again every second, should something pass over the first.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read_all(response: t.Any) -> bytes:
    """The answer, unless it is far too long."""
    data = response.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(f"the answer is longer than {LARGEST >> 20} MiB")
    if getattr(response, "length", None):
        raise IncompleteRead(data, response.length)
    return t.cast(bytes, data)


class NoAnswer(Exception):
    """The server did not answer as it should; the message says what was seen last."""


class NotThere(NoAnswer):
    """The server has no such path."""


class Refused(NoAnswer):
    """The server does not answer this without being told more."""


class Failing(NoAnswer):
    """The server could not answer now, as a router whose model comes or goes."""


class Broken(NoAnswer):
    """It will not come: a model of a router could not be loaded."""


class Silent(NoAnswer):
    """The server took the request and said nothing in time, as one does that computes a long prompt."""


def checked_url(url: str) -> str:
    """The address as it is; ``ValueError`` with a sentence where nothing can ever answer at it."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits or not url.isprintable() or " " in url:
        raise ValueError(
            f"url {url!r} is not the address of a server. Give it as http://127.0.0.1:8000 or "
            f"https://gpu-01.example.net."
        )
    return url


def api_key_of(path: str | None) -> str | None:
    """The key in a file of variables; ``None`` where there is no file or no key in it."""
    try:
        with open(path or "", encoding="utf-8", errors="replace") as file:
            match = re.search(r"^(?:VLLM|LLAMA)_API_KEY=[^\S\n]*(\S.*)$", file.read(65536), re.M)
    except FileNotFoundError:
        return None
    return match.group(1).strip() if match else None


class Server:
    """One server. ``timeout`` (seconds) is that of a single request. What can never work is a ``ValueError``
    with a sentence."""

    def __init__(
        self, url: str, api_key: str | None = None, timeout: float = 60, validate_certs: bool = True
    ) -> None:
        self.url = checked_url(url).rstrip("/")
        self.timeout = timeout
        # Whether it was seen to be one that loads models and gives them up, as requests ask for them.
        self.router = False
        # What it said of its models.
        self.listed: list[dict[str, t.Any]] = []
        context = ssl.create_default_context()
        if not validate_certs:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        # HTTP and nothing else: no proxy, and no other address that an answer leads to.
        self.opener = OpenerDirector()
        for handler in (
            HTTPHandler(),
            HTTPSHandler(context=context),
            HTTPErrorProcessor(),
            HTTPDefaultErrorHandler(),
            UnknownHandler(),
        ):
            self.opener.add_handler(handler)
        self.headers = {"Content-Type": "application/json"}
        if api_key:
            if not re.fullmatch("[\x20-\x7e\xa0-\xff]+", api_key):
                raise ValueError(
                    "The API key holds a character that no header of HTTP can carry. Write another one."
                )
            self.headers["Authorization"] = f"Bearer {api_key}"

    def request(self, path: str, body: dict[str, t.Any] | None = None, timeout: float | None = None) -> t.Any:
        """The open response of one request; any failure is a ``NoAnswer``."""
        data = json.dumps(body).encode() if body is not None else None
        return self._open(Request(self.url + path, data, self.headers), path, timeout)  # noqa: S310 - HTTP alone

    def _open(self, request: Request, path: str, timeout: float | None) -> t.Any:
        try:
            return self.opener.open(request, timeout=timeout or self.timeout)
        except HTTPError as error:
            said = error.read(400).decode("utf-8", "replace").strip()
            kinds = {400: Refused, 404: NotThere, **dict.fromkeys((500, 502, 503, 504), Failing)}
            raise kinds.get(error.code, NoAnswer)(
                f"{path} answered {error.code}{': ' + said if said else ''}"
            ) from error
        except (URLError, OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            late = isinstance(reason, socket.timeout)
            raise (Silent if late else NoAnswer)(f"{path}: {str(reason) or type(error).__name__}") from error

    def ask(self, question: str, model: str, timeout: float) -> dict[str, t.Any]:
        """The smallest request of a task that gives no completions (``QUESTIONS``): the path that answered,
        and ``seconds``."""
        start, missing = time.monotonic(), None
        for path, body in QUESTIONS[question]:
            try:
                with within(timeout):
                    answer = json.loads(read_all(self._ask(path, {"model": model, **body}, timeout)))
            except NotThere as error:
                # Which paths there are follows from the model.
                missing = error
                continue
            except (ValueError, RecursionError, OSError, HTTPException) as error:
                raise NoAnswer(f"{path}: {error}") from error
            if not _answers(path, answer):
                raise NoAnswer(f"{path}: the answer is not one of this task: {str(answer)[:200]}")
            return {"path": path, "seconds": round(time.monotonic() - start, 3)}
        raise missing or NoAnswer(f"{question} has no path")

    def _ask(self, path: str, body: dict[str, t.Any], timeout: float) -> t.Any:
        if path != TRANSCRIPTIONS:
            return self.request(path, body, timeout)
        mark, named = "amdgpu-fleet-silence", 'Content-Disposition: form-data; name="{}"'
        parts = [f"--{mark}\r\n{named.format(name)}\r\n\r\n{value}\r\n" for name, value in body.items()]
        file = f'{named.format("file")}; filename="silence.wav"\r\nContent-Type: audio/wav'
        head = "".join([*parts, f"--{mark}\r\n{file}\r\n\r\n"])
        data = head.encode() + silence() + f"\r\n--{mark}--\r\n".encode()
        headers = {**self.headers, "Content-Type": f"multipart/form-data; boundary={mark}"}
        return self._open(Request(self.url + path, data, headers), path, timeout)  # noqa: S310 - HTTP alone

    def healthy(self, timeout: float) -> None:
        """Return if the server says that it is well, within ``timeout`` seconds; else ``NoAnswer``."""
        try:
            with within(min(timeout, self.timeout)):
                read_all(self.request("/health", timeout=min(timeout, self.timeout)))
        except (OSError, HTTPException) as error:
            raise NoAnswer(f"/health: {error}") from error

    def _get(self, path: str) -> bytes:
        """The whole answer to a question, in time."""
        try:
            with within(self.timeout):
                return read_all(self.request(path))
        except (OSError, HTTPException) as error:
            late = isinstance(error, socket.timeout)
            raise (Silent if late else NoAnswer)(f"{path}: {error}") from error

    def settled(self) -> None:
        """Return unless a router still loaded its first models when it was last asked for ``models``: it says
        that it is well before."""
        lost = [entry["id"] for entry in self.listed if _status(entry).get("failed")]
        if lost:
            raise Broken(f"/v1/models: {', '.join(lost)} could not be loaded")
        loading = [entry["id"] for entry in self.listed if _status(entry).get("value") == "loading"]
        # Else a request for one waits for it by itself.
        if loading and not self._loads_by_itself():
            raise NoAnswer(f"/v1/models: {', '.join(loading)} is still loading")

    def _models(self) -> list[dict[str, t.Any]]:
        try:
            found = json.loads(self._get("/v1/models"))["data"]
            return [{**entry, "id": str(entry["id"])} for entry in found]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise NoAnswer("/v1/models: the answer is not a list of models") from error

    def models(self) -> list[str]:
        """The names the server serves."""
        self.listed = self._models()
        return [entry["id"] for entry in self.listed]

    def version(self) -> str | None:
        """What the server says of its own version: vLLM's release, or the build of llama.cpp's server.
        ``None`` where it does not say."""
        for path, name in VERSIONS:
            try:
                answer = json.loads(self._get(path))
                if isinstance(answer.get(name), str):
                    return str(answer[name])
            except (NoAnswer, ValueError, AttributeError, RecursionError):
                continue
        return None

    def requests(self) -> int:
        """How many requests run or wait, over all models and engines of the server."""
        try:
            return self._running("/metrics")
        except Refused as error:
            # llama.cpp's router has the numbers of each model, and none of all together.
            return self._of_router(error)

    def _running(self, path: str) -> int:
        values = REQUESTS.findall(self._get(path).decode("utf-8", "replace"))
        if not values:
            raise NoAnswer(f"{path}: the numbers of requests are not among them")
        try:
            return round(sum(float(value) for value in values))
        except (ValueError, OverflowError) as error:
            raise NoAnswer(f"{path}: the numbers of requests are no numbers") from error

    def _of_router(self, refused: Refused) -> int:
        """A request for a model that loads waits for it. One whose turn has not come is seen by nobody."""
        states = {entry["id"]: _status(entry).get("value") for entry in self._models()}
        self.router = any(states.values())
        if not self.router:
            raise refused
        loading = [name for name, state in states.items() if state == "loading"]
        count = len(loading) if loading and self._loads_by_itself() else 0
        for name, state in states.items():
            try:
                # Without the last word it might load the model.
                path = f"/metrics?model={quote(name, safe='')}&autoload=false"
                count += self._running(path) if state == "loaded" else 0
            except Failing:
                # It ends, because another one is wanted, or it was begun this moment.
                count += 1
            except Refused:
                continue
        return count

    def _loads_by_itself(self) -> bool:
        """Whether requests of a router wait for their model; else those for one that loads are refused."""
        try:
            return bool(json.loads(self._get("/props")).get("models_autoload", True))
        except (NoAnswer, ValueError, AttributeError, RecursionError):
            return True

    def completion(self, model: str, prompt: str, max_tokens: int, timeout: float) -> dict[str, t.Any]:
        """One streamed completion: ``text``, ``tokens``, time to the first and per further token, in ms.

        The server may be silent for ``timeout`` seconds: the first completion may compile kernels.
        """
        body = _body(model, prompt, max_tokens)
        start = time.monotonic()
        first = last = None
        pieces: list[str] = []
        tokens = received = 0
        complete = False
        try:
            with within(timeout):
                response = self.request("/v1/completions", body, timeout)
                for line in iter(lambda: response.readline(LONGEST_LINE + 1), b""):
                    if len(line) > LONGEST_LINE:
                        raise ValueError("a line without an end")
                    complete = complete or line.strip() == b"data: [DONE]"
                    if complete or not line.startswith(b"data: "):
                        continue
                    event = json.loads(line[6:])
                    if event.get("error"):
                        raise NoAnswer(f"/v1/completions: {str(event['error'])[:400]}")
                    tokens = int((event.get("usage") or {}).get("completion_tokens", tokens))
                    if not 0 <= tokens <= MOST_TOKENS:
                        raise ValueError("a number of tokens that cannot be")
                    for choice in event.get("choices") or []:
                        last = time.monotonic()
                        first = first or last
                        pieces.append(choice.get("text") or "")
                        received += len(pieces[-1])
                    if received > LARGEST:
                        raise ValueError(f"more than {LARGEST >> 20} MiB came")
        except socket.timeout as error:
            seen = "it did not end within" if received else "nothing came for"
            raise NoAnswer(
                f"/v1/completions: {seen} {timeout:.0f} s; where kernels are compiled, give it longer"
            ) from error
        except (
            ValueError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
            OSError,
            HTTPException,
        ) as error:
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


class Idle(t.NamedTuple):
    """What waiting for a server came to. ``first`` and ``last``: the requests that were seen first and last;
    ``last`` is ``None`` where the server does not answer, and ``seen`` says how."""

    first: int | None
    last: int | None
    waited_seconds: float
    seen: str | None


def wait_until_idle(
    server: Server,
    seconds: float,
    interval: float,
    tell: t.Callable[[int], None] = lambda _running: None,
    silence_seconds: float = SILENCE,
) -> Idle:
    """Until the server computes nothing, does not answer, or ``seconds`` are over. ``tell`` is told once how
    many requests there are to wait for."""
    start = answered = time.monotonic()
    first = last = calm = None
    seen = None
    while True:
        try:
            last, seen = server.requests(), None
            answered = time.monotonic()
            calm = None if last else calm or answered
            # A router is seen to do nothing while it gives up one model for another that a request waits for.
            over = calm is not None and (not server.router or answered - calm >= CALM)
            if last and not first:
                first = last
                tell(first)
            first = first or 0
        except Silent as error:
            seen, over = str(error), time.monotonic() - answered >= silence_seconds
            last = None if over else last
        except NoAnswer as error:
            last, seen, over = None, str(error), True
        waited = time.monotonic() - start
        if over or waited >= seconds:
            return Idle(first, last, round(waited, 1), seen)
        time.sleep(interval)


def _status(model: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a router says of a model: whether it is loaded. Empty where the server is none."""
    status = model.get("status")
    return status if isinstance(status, dict) else {}


def silence(seconds: int = 1, rate: int = 16000) -> bytes:
    """A recording of nothing, as a WAV file of 16 bits and one channel."""
    size = 2 * rate * seconds
    shape = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + shape
    return head + struct.pack("<4sI", b"data", size) + bytes(size)


def _answers(path: str, answer: t.Any) -> bool:
    """Whether an answer is what a path is for."""
    if not isinstance(answer, dict):
        return False
    if path == TRANSCRIPTIONS:
        return isinstance(answer.get("text"), str)
    data = answer.get("data")
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, dict):
        return False
    found = first.get(KEYS[path])
    return bool(found) if isinstance(found, list) else _number(found)


def _number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _body(model: str, prompt: str, max_tokens: int) -> dict[str, t.Any]:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
