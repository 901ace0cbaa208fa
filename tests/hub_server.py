"""A hub of this machine: as much of the API of Hugging Face as twins need, with private and gated repositories."""

import base64
import hashlib
import http.server
import json
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

MAY_ALL = "hf_may_all"


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by commit, the oldest first."""
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        before = next(reversed(self.commits.values()), {})
        oid = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[oid] = {**before, **files}
        self.messages.append(message)
        return oid

    def at(self, revision: str) -> str | None:
        if revision == "main":
            return next(reversed(self.commits), None)
        return revision if revision in self.commits else None


class Hub(http.server.BaseHTTPRequestHandler):
    """What is asked and answered; repositories are in `repositories`."""

    protocol_version = "HTTP/1.1"
    repositories: ClassVar[dict[str, Repository]] = {}

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            if repo := self._readable(found[1]):
                self._json({"id": found[1], "sha": repo.at("main"), "private": repo.private, "siblings": []})
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        assert found, self.path
        if not (repo := self._readable(found[1])):
            return
        if repo.gated:
            self._refuse(403, "GatedRepo")
        elif not (oid := repo.at(found[2])):
            self._refuse(404, "RevisionNotFound")
        elif (content := repo.commits[oid].get(found[3])) is None:
            self._refuse(404, "EntryNotFound")
        else:
            etag = hashlib.sha256(content).hexdigest()
            self._answer(200, content, {"X-Repo-Commit": oid, "ETag": f'"{etag}"'})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            licence = re.search(r"^license: (.+)$", json.loads(body)["content"], re.MULTILINE)
            wrong = licence is not None and licence[1] not in ("cc-by-4.0", "mit")
            errors = [{"message": '"license" must be one of [cc-by-4.0, mit]'}] if wrong else []
            self._json({"errors": errors, "warnings": []}, 400 if wrong else 200)
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
            asked = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            self._json({"files": modes})
        else:
            found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path)
            assert found, self.path
            self._commit(found[1], [json.loads(line) for line in body.splitlines()])

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if not self._may_write(name):
            return
        new = name not in self.repositories
        if new:
            private = asked.get("private") or asked.get("visibility") == "private"
            self.repositories[name] = Repository(private=bool(private))
            self.repositories[name].commit({".gitattributes": b""})
        self._json({"url": f"http://{self.headers['Host']}/{name}"}, 200 if new else 409)

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        if not self._may_write(name):
            return
        values = [line["value"] for line in lines if line["key"] == "file"]
        files = {value["path"]: base64.b64decode(value["content"]) for value in values}
        oid = self.repositories[name].commit(files, lines[0]["value"]["summary"])
        self._json({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{oid}", "commitOid": oid})

    def _may_write(self, name: str) -> bool:
        if self._knows_us and not name.startswith("others/"):
            return True
        self._refuse(403 if self._knows_us else 401, None)
        return False

    def _readable(self, name: str) -> Repository | None:
        repo = self.repositories.get(name)
        if repo is None or (repo.private and not self._knows_us):
            self._refuse(404 if self._knows_us else 401, "RepoNotFound")
            return None
        return repo

    @property
    def _knows_us(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {MAY_ALL}"

    def _json(self, content: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str | None) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code} if code else {})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
