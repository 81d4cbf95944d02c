"""Weights on a hub that the tests start on loopback: pushed, pulled, pinned, broken off, tampered with, offline."""

import base64
import gzip
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mlavl_cli.bundle import find_bundle
from mlavl_cli.hub_bundle import is_hub_name
from mlavl_cli.training.push import model_card


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories of models as (commit -> {path: bytes}); the last commit is main."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status=200, body=b"", **headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def answer_json(self, value, status=200):
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def do_HEAD(self):
        if self.server.endless:
            self.answer(body=bytes(1000), ETag=f'"{"a" * 40}"', X_Repo_Commit="b" * 40)
        else:
            self.do_GET()

    def do_GET(self):
        if self.server.endless:
            return self.answer_without_end()
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+?)(\?.*)?", self.path)
        if not found:
            return self.answer_json({"error": "no such thing"}, 404)
        commits = self.server.repos.get(found[1], {})
        commit = next(reversed(commits), None) if found[2] == "main" else found[2]
        body = commits.get(commit, {}).get(found[3])
        self.server.asked.append((self.command, found[3]))
        if body is None:
            return self.answer(404, X_Error_Code="RepoNotFound" if not commits else "EntryNotFound")
        etag = hashlib.sha256(body).hexdigest()
        if self.command == "GET" and found[3] == self.server.breaks_at:
            self.send_response(200)
            for name, value in (("Content-Length", str(len(body))), ("ETag", f'"{etag}"'), ("X-Repo-Commit", commit)):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        return self.answer(body=body, ETag=f'"{etag}"', X_Repo_Commit=commit)

    def answer_without_end(self):
        self.send_response(403)
        if len(self.server.endless) != 1 << 20:
            self.send_header("Content-Encoding", "gzip, gzip")
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(3000 if len(self.server.endless) == 1 << 20 else 1):
            self.wfile.write(self.server.endless)
        self.close_connection = True

    def do_POST(self):
        if self.server.endless:
            return self.answer_without_end()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if "Bearer secret" not in self.headers.get("Authorization", ""):
            return self.answer_json({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(data)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.server.repos.setdefault(name, {})
            return self.answer_json({"url": f"{self.server.address}/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer_json({"errors": [], "warnings": []})
        name = re.match(r"/api/models/([\w.-]+/[\w.-]+)/", self.path)[1]
        if "/preupload/" in self.path:
            paths = [one["path"] for one in json.loads(data)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]
            return self.answer_json({"files": modes})
        files = {}
        for line in data.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                files[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
        commit = hashlib.sha1(b"".join(path.encode() + body for path, body in sorted(files.items()))).hexdigest()
        self.server.repos[name][commit] = files
        address = f"{self.server.address}/{name}/commit/{commit}"
        return self.answer_json({"commitUrl": address, "commitOid": commit, "success": True})


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):  # the client has gone
        pass


@pytest.fixture
def hub():
    server = Server(("127.0.0.1", 0), Hub)
    server.repos, server.asked, server.breaks_at, server.endless = {}, [], None, b""
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def mlavl(hub, tmp_path):
    def call(*words, around=(), **environment):
        settings = {
            "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "secret",
            "HF_HUB_ETAG_TIMEOUT": "3", "HF_HUB_DOWNLOAD_TIMEOUT": "3", "HF_HUB_DISABLE_XET": "1",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "mlavl_cli", *map(str, words)]
        return subprocess.run(
            [*around, *command], env={**os.environ, **settings, **environment},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    return call


@pytest.fixture
def pushed(mlavl, hub):
    done = mlavl("weights", "push", find_bundle("mini").folder, "me/judge")
    assert done.returncode == 0, done.stderr
    (commit,) = hub.repos["me/judge"]
    assert done.stdout.strip().endswith(f"/me/judge/commit/{commit}")
    return commit


def numbers(text):
    result = json.loads(text)
    return {key: result[key] for key in ("scores", "clips", "consistency")}


def test_what_was_pushed_scores_to_the_bit(mlavl, hub, pushed, routine, tmp_path):
    files = hub.repos["me/judge"][pushed]
    own = find_bundle("mini")
    assert set(files) == {"bundle.json", "README.md", *own.files}
    card = files["README.md"].decode()
    assert own.trained_on in card and "--weights me/judge" in card and "| TES |" in card
    here = mlavl("score", routine, "-f", "json")
    there = mlavl("score", routine, "-f", "json", "--weights", "me/judge")
    assert there.returncode == 0, there.stderr
    assert numbers(there.stdout) == numbers(here.stdout)
    fetched = {path for command, path in hub.asked if command == "GET"}
    assert fetched == {"bundle.json", *own.files}  # and not the card
    hub.asked.clear()
    again = mlavl("score", routine, "-f", "json", "--weights", f"me/judge@{pushed}", HF_HUB_OFFLINE="1")
    assert numbers(again.stdout) == numbers(here.stdout)
    assert not hub.asked
    verified = mlavl("weights", "verify", "me/judge", HF_HUB_OFFLINE="1")
    assert verified.returncode == 0, verified.stderr
    folder = tmp_path / "home" / "mlavl" / "me--judge" / pushed
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


def replaced(path, data):
    path.unlink()  # the hub's own cache is the same file
    path.write_bytes(data)


@pytest.mark.slow
def test_what_lies_in_a_shared_cache_is_compared_with_the_hubs_list(mlavl, hub, pushed, tmp_path):
    """Whoever writes there first would choose the weights."""
    assert mlavl("weights", "info", "me/judge").returncode == 0
    folder = tmp_path / "home" / "mlavl" / "me--judge" / pushed
    head = folder / "heads" / "TES.safetensors"
    whole = head.read_bytes()
    for change in (
        lambda: replaced(head, whole[:-4] + b"\0\0\0\0"),
        lambda: head.unlink(),
        lambda: (folder / "backbones" / "visual" / "pytorch_model.bin").write_bytes(b"another"),
        lambda: replaced(folder / "bundle.json", (folder / "bundle.json").read_bytes() + b" "),
    ):
        change()
        for name, environment in (("me/judge", {}), (f"me/judge@{pushed}", {"HF_HUB_OFFLINE": "1"})):
            result = mlavl("weights", "info", name, **environment)
            assert result.returncode == 1
            (line,) = result.stderr.splitlines()
            assert f"{folder} holds other files than the hub lists. Remove that folder" in line
        shutil.rmtree(folder)
        assert mlavl("weights", "info", "me/judge").returncode == 0
    assert head.read_bytes() == whole
    result = mlavl("evaluate", "simulated", tmp_path, "--weights", "me/judge", "--save")
    assert result.returncode == 2
    assert "weights of a hub stay as it lists them. Copy their folder" in result.stderr


# Runs a command, and says how many MB it and its children held.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [("weights", "info"), ("weights", "push", find_bundle("mini").folder)])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.slow
def test_an_answer_without_end_takes_little_memory(mlavl, hub, tmp_path, words, packed):
    hub.endless = gzip.compress(gzip.compress(bytes(1 << 30)) * 2) if packed else bytes(1 << 20)
    result = mlavl(*words, "me/judge", around=(sys.executable, "-c", MEASURED))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: me/judge: the hub answers with more than can be kept")
    assert int(result.stdout.split()[-1]) < 1500


def test_a_revision_is_pinned(mlavl, hub, pushed):
    changed = dict(hub.repos["me/judge"][pushed])
    manifest = json.loads(changed["bundle.json"])
    changed["bundle.json"] = json.dumps({**manifest, "name": "newer"}).encode()
    hub.repos["me/judge"]["b" * 40] = changed
    assert "newer" in mlavl("weights", "info", "me/judge").stdout
    assert "newer" not in mlavl("weights", "info", f"me/judge@{pushed}").stdout
    assert "newer" in mlavl("weights", "info", "me/judge").stdout


def test_a_download_that_was_broken_off_goes_on(mlavl, hub, pushed):
    hub.breaks_at = "heads/TES.safetensors"
    broken = mlavl("weights", "info", "me/judge")
    assert broken.returncode == 1
    assert len(broken.stderr.splitlines()) == 1
    assert broken.stderr.startswith("error: me/judge")
    hub.breaks_at = None
    before = [path for command, path in hub.asked if command == "GET"]
    hub.asked.clear()
    assert mlavl("weights", "verify", "me/judge").returncode == 0
    after = [path for command, path in hub.asked if command == "GET"]
    assert "heads/TES.safetensors" in after
    assert not set(after) & set(before) - {"heads/TES.safetensors"}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda files: files.update({"heads/TES.safetensors": files["heads/PCS.safetensors"]}), "is another file"),
        (lambda files: files.update({"bundle.json": b"[" * 100_000}), "no list of a bundle's files"),
        (lambda files: files.update({"bundle.json": b"{}"}), "no list of a bundle's files"),
        (lambda files: files.pop("heads/TES.safetensors"), "heads/TES.safetensors can't be fetched"),
        (lambda files: listing(files, "../outside.json"), "no list of a bundle's files"),
        (lambda files: listing(files, "/etc/outside.json"), "no list of a bundle's files"),
        (lambda files: listing(files, "backbones/visual/run.py"), "no list of a bundle's files"),
        (lambda files: listing(files, "a/b/c/d/e/f/g.json"), "no list of a bundle's files"),
        (
            lambda files: files.update({"bundle.json": b" " * (5 << 20) + files["bundle.json"]}),
            "more than a bundle has",
        ),
    ],
)
def test_what_is_no_bundle_is_one_line(mlavl, hub, pushed, tmp_path, change, cause):
    files = dict(hub.repos["me/judge"][pushed])
    change(files)
    hub.repos["me/judge"]["c" * 40] = files
    result = mlavl("weights", "info", "me/judge")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert cause in line
    assert not list((tmp_path / "home").glob("mlavl/me--judge/*"))


def test_a_revision_that_is_no_bundle_leaves_the_one_before(mlavl, hub, pushed):
    hub.repos["me/judge"]["c" * 40] = {**hub.repos["me/judge"][pushed], "bundle.json": b"{}"}
    assert mlavl("weights", "info", "me/judge").returncode == 1
    assert mlavl("weights", "info", f"me/judge@{pushed}").returncode == 0


def listing(files, path):
    manifest = json.loads(files["bundle.json"])
    manifest["files"][path] = "0" * 64
    files["bundle.json"] = json.dumps(manifest).encode()
    files[path] = b"{}"


def test_no_hub_and_no_such_repository(mlavl, hub, tmp_path, pushed):
    for name, environment in (("me/nobody", {}), ("me/judge", {"HF_HUB_OFFLINE": "1"}), ("me/judge@tag", {})):
        result = mlavl("weights", "info", name, **environment)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"error: {name}")
    (tmp_path / "me" / "judge").mkdir(parents=True)  # a folder of that name is a folder
    command = [sys.executable, "-m", "mlavl_cli", "weights", "info", "me/judge"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1
    assert "bundle.json" in done.stderr


def test_only_whole_bundles_are_pushed_and_only_with_a_login(mlavl, hub, tmp_path):
    shutil.copytree(find_bundle("mini").folder, tmp_path / "own")
    refused = mlavl("weights", "push", tmp_path / "own", "me/judge", HF_TOKEN="wrong")
    assert refused.returncode == 1
    assert "hf auth login" in refused.stderr
    assert mlavl("weights", "push", tmp_path / "own", "judge").returncode == 2
    (tmp_path / "own" / "heads" / "TES.safetensors").write_bytes(b"x")
    broken = mlavl("weights", "push", tmp_path / "own", "me/judge")
    assert broken.returncode == 1
    assert "heads/TES.safetensors has changed" in broken.stderr
    assert not hub.repos.get("me/judge")


@pytest.mark.parametrize("name", ["a/b", "a/b@main", "a-1/b.2@v1.0", "user/name@" + "a" * 40])
def test_names_of_a_hub(name):
    assert is_hub_name(name)


@pytest.mark.parametrize("name", ["a", "a/b/c", "../b", "a/..", "./b", "/a/b", "a/b@", "a/b@x/y", "a/ b", "a/b\n", 3])
def test_names_of_no_hub(name):
    assert not is_hub_name(name)


def test_a_card_says_what_is_not_known():
    from dataclasses import replace

    own = find_bundle("mini")
    bare = model_card(
        replace(own, metrics={}, intervals={}, domain=None, consistency=None, frame_rate=None), "me/judge"
    )
    assert "don't know which videos are of another kind" in bare
    assert "not validated" in bare
    assert "each video's own frame rate" in bare
    assert "| TES |" not in bare
