"""A stand-in of a model behind an OpenAI-compatible address: a number that picture and question decide."""

import hashlib
import json
import math
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "stand-in-7b-of-the-server"


class Judge(BaseHTTPRequestHandler):
    """Answers with a number, or with what ``server.reply`` says; ``server.failures`` requests are refused first.

    Asked for probabilities of tokens, it tells those of ``server.chances``.
    """

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        self.server.seen.append((self.path, dict(self.headers), asked))
        content = asked["messages"][0]["content"]
        number = int(hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8], 16) % 100_000 / 1000
        status = 200
        if self.server.failures:
            self.server.failures -= 1
            status = 503
        choice = {"message": {"content": self.server.reply or f"{number:.3f}"}}
        if asked.get("logprobs") and self.server.chances:
            tokens = [{"token": token, "logprob": math.log(chance)} for token, chance in self.server.chances.items()]
            choice["logprobs"] = {"content": [{**tokens[0], "top_logprobs": tokens}]}
        data = json.dumps({"model": MODEL, "choices": [choice]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def serve():
    """Start a server on this machine; it ends with the process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    server.daemon_threads = True
    server.reply, server.failures, server.seen, server.chances = None, 0, [], {}
    server.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@cache
def shared():
    """The server that the laws of metrics ask."""
    return serve()
