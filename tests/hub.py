"""A small Hugging Face Hub on 127.0.0.1: enough of its protocol for the real client to download and to upload.

    with Hub() as hub:
        hub.repos["ana/rooms"] = Repo({"config.json": b"{}"})
        hub.faults["GET", "model.safetensors"] = [cut_short, cut_short]  # the first two answers

`hub.log` lists the requests that arrived, as "GET model.safetensors".
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from tests.loopback import Loopback, Quiet

RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/(?P<verb>revision|preupload|commit)/(?P<revision>[^/]+))?")
LFS = re.compile(r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch")


class Repo:
    """A repository: every commit is a whole set of files."""

    def __init__(self, files: dict[str, bytes] | None = None, token: str | None = None, gated: bool = False) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.token, self.gated, self.private = token, gated, False
        self.commit(files or {})

    def commit(self, files: dict[str, bytes]) -> str:
        merged = {**self.commits.get(self.branches.get("main", ""), {}), **files}
        digest = hashlib.sha1(repr((len(self.commits), sorted(merged.items()))).encode()).hexdigest()
        self.commits[digest], self.branches["main"] = merged, digest
        return digest

    def at(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


Fault = Callable[["Handler", bytes], None]


class Hub(Loopback):
    """The server; its address is `url`, and every answer closes the connection."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: dict[tuple[str, str], list[Fault]] = {}
        self.log: list[str] = []
        self.authorizations: list[str | None] = []
        self.blobs: dict[str, bytes] = {}
        super().__init__(Handler, "hub")


class Handler(Quiet):
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.authorizations.append(self.headers.get("authorization"))
        if match := RESOLVE.fullmatch(self.path):
            if found := self.readable(match["repo"], match["revision"]):
                self.resolve(*found, match["file"])
        elif match := API.fullmatch(self.path):
            if found := self.readable(match["repo"], match["revision"] or "main"):
                repo, commit = found
                siblings = [{"rfilename": name} for name in sorted(repo.commits[commit])]
                self.answer(200, {"id": match["repo"], "modelId": match["repo"], "sha": commit, "siblings": siblings})
        else:
            self.answer(404, {"error": "no such address"})

    def readable(self, name: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.token and self.headers.get("authorization") != f"Bearer {repo.token}"):
            self.answer(401, {"error": "not found"}, {"X-Error-Code": "RepoNotFound"})
        elif repo.gated:
            self.answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif (commit := repo.at(revision)) is None:
            self.answer(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repo, commit
        return None

    def resolve(self, repo: Repo, commit: str, name: str) -> None:
        self.hub.log.append(f"{self.command} {name}")
        content = repo.commits[commit].get(name)
        if content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self.answer(404, {"error": "no file"}, headers)
        digest = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors"):
            headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        faults = self.hub.faults.get((self.command, name))
        if faults:
            return faults.pop(0)(self, content)
        status, start = 200, 0
        if span := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            status, start = 206, int(span[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.hub.log.append(f"from {start}")
        self.answer(status, content[start:], headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.authorizations.append(self.headers.get("authorization"))
        if not self.headers.get("authorization"):
            self.answer(401, {"error": "who are you?"})
        elif self.path == "/api/repos/create":
            wish = json.loads(body)
            name = f"{wish['organization']}/{wish['name']}"
            repo = self.hub.repos.setdefault(name, Repo())
            repo.private = wish.get("visibility") == "private" or bool(wish.get("private"))
            self.answer(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif match := LFS.fullmatch(self.path):
            objects = [self.upload_address(wish) for wish in json.loads(body)["objects"]]
            self.answer(200, {"transfer": "basic", "objects": objects})
        elif (match := API.fullmatch(self.path)) and match["verb"] == "preupload":
            self.answer(200, {"files": [upload_mode(file["path"]) for file in json.loads(body)["files"]]})
        elif match and match["verb"] == "commit":
            self.commit(match["repo"], body)
        else:
            self.answer(404, {"error": "no such address"})

    def upload_address(self, wish: dict[str, Any]) -> dict[str, Any]:
        return wish | {"actions": {"upload": {"href": f"{self.hub.url}/blobs/{wish['oid']}", "header": {}}}}

    def do_PUT(self) -> None:
        self.hub.blobs[self.path.rsplit("/", 1)[1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, {})

    def commit(self, name: str, body: bytes) -> None:
        files = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.hub.blobs[line["value"]["oid"]]
        commit = self.hub.repos[name].commit(files)
        self.hub.log.append("commit " + " ".join(sorted(files)))
        url = f"{self.hub.url}/{name}/commit/{commit}"
        self.answer(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def answer(self, status: int, body: bytes | dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def upload_mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}


def answer(status: int, **headers: str) -> Fault:
    """Answer with a status instead of the file; X_Error_Message stands for X-Error-Message."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.answer(status, {"error": "planned"}, named)


def cut_short(handler: Handler, content: bytes) -> None:
    """Promise the file and close the connection after its first half."""
    start = int((re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "bytes=0-") or ["", "0"])[1])
    handler.send_response(206 if start else 200)
    handler.send_header("Content-Length", str(len(content) - start))
    handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    handler.end_headers()
    handler.wfile.write(content[start : start + (len(content) - start) // 2])
    handler.close_connection = True


def scrambled(handler: Handler, content: bytes) -> None:
    """Serve other bytes of the same length."""
    handler.answer(200, bytes(255 - byte for byte in content))
