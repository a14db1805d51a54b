"""A stand-in of the Hugging Face hub: its addresses on this machine, repositories in memory, for the real client."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

from huggingface_hub import constants


class Hub(BaseHTTPRequestHandler):
    """Creates repositories, takes commits and serves files, as far as the client asks for it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        words = self.path.split("?")[0].strip("/").split("/")
        if words[-1] == "validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if words == ["api", "repos", "create"]:
            asked = json.loads(body)
            self.server.repositories.setdefault(f"{asked['organization']}/{asked['name']}", {})
            return self.answer({"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"})
        name = "/".join(words[2:4])
        if "paths-info" in words:
            asked = parse_qs(body.decode()).get("paths", []) if b"paths=" in body else json.loads(body)["paths"]
            files = self.server.repositories.get(name, {})
            return self.answer([described(path, files[path]) for path in asked if path in files])
        if "preupload" in words:
            files = [file["path"] for file in json.loads(body)["files"]]
            return self.answer(
                {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]}
            )
        assert "commit" in words, self.path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                data = base64.b64decode(line["value"]["content"])
                self.server.repositories[name][line["value"]["path"]] = data
        return self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        words = self.path.split("?")[0].strip("/").split("/")
        files = self.server.repositories.get("/".join(words[1:3] if words[0] == "datasets" else words[:2]), {})
        if words[:1] == ["api"]:
            files = self.server.repositories.get("/".join(words[2:4]), {})
            if "tree" in words:
                return self.answer([described(path, data) for path, data in files.items()])
            rows = [{"rfilename": path} for path in files]
            return self.answer({"id": "/".join(words[2:4]), "sha": COMMIT, "siblings": rows})
        path = "/".join(words[words.index("resolve") + 2 :])
        if path not in files:
            return self.answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        return self.answer(files[path])

    def answer(self, content, status=200, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/octet-stream" if isinstance(content, bytes) else "application/json",
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        pass


COMMIT = "0" * 39 + "1"


def described(path, data):
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@contextmanager
def serving(monkeypatch, cache):
    """Serve an empty hub and send the client there; yields its repositories, name -> path -> bytes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repositories, server.address = {}, f"http://127.0.0.1:{server.server_address[1]}"
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.repositories
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
