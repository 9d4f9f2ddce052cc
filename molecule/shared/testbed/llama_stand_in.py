# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for llama-server, as a package of a site's own repository brings it to a release whose archive has none.
It knows one answer."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ALIAS, KEY = os.environ.get("LLAMA_ARG_ALIAS", ""), os.environ.get("LLAMA_API_KEY", "")
PAGES = {
    "/v1/models": {"data": [{"id": ALIAS}]},
    "/props": {"build_info": "b11669-site"},
}
PIECES = [{"choices": [{"text": " Paris."}]}, {"choices": [], "usage": {"completion_tokens": 2}}]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, '{"status": "ok"}')
        elif KEY and self.headers.get("Authorization") != f"Bearer {KEY}":
            self.answer(401, "Invalid API Key")
        elif self.path == "/metrics":
            self.answer(200, "llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n")
        else:
            known = self.path in PAGES
            self.answer(200 if known else 404, json.dumps(PAGES.get(self.path)))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200, "".join(f"data: {json.dumps(each)}\n\n" for each in PIECES) + "data: [DONE]\n\n")

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())


if __name__ == "__main__":
    if "--version" in sys.argv:
        print("version: 0.7.0 (build 11669, commit site)", file=sys.stderr)
        sys.exit()
    address = (os.environ["LLAMA_ARG_HOST"], int(os.environ["LLAMA_ARG_PORT"]))
    ThreadingHTTPServer(address, Handler).serve_forever()
