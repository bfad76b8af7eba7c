"""The door of an edge whose data others give: what its Controller says to it on Cdn, and whom the data is for.

A Controller makes sessions by POST and ends them by DELETE; whoever gives the data (nginx, Varnish) asks /admit before each
request, and is told 204 or 403. Pieces lie in a folder, each content as one file as long as the whole, with holes where a
piece is not held; none is let out that lies in a hole. What is missing is fetched through nginx, which knows the origin.
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import ipaddress
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
from pathlib import Path

# Sessions at a time, and seconds that one waits for its client.
MOST_SESSIONS = 64
SESSION_LIFETIME = 90
# Seconds that a token for the origin is good for.
FETCH_LIMIT = 10


class Refused(Exception):
    """The status that says no."""

    def __init__(self, status, *headers):
        super().__init__(status)
        self.status, self.headers = status, headers


class Door:
    """Sessions, tokens and holdings. `inside` is the socket on which nginx passes on to the CDN's other nodes."""

    def __init__(self, told, shelf, inside, broken=None):
        self.told, self.shelf, self.inside, self.broken = told, Path(shelf), inside, broken
        self.key = bytes.fromhex(told["TOKEN_KEY"])
        self.sessions = {}
        self.lock, self.filling = threading.Lock(), threading.Lock()
        # Times in tokens count from the start of the run, which is that of a guest but for what starting it takes.
        self.began = time.monotonic()
        own = {told["NODE"].upper().replace("-", "_"): told["HOST"]}
        hosts = {name.removeprefix("PEER_HOST_"): host for name, host in told.items() if name.startswith("PEER_HOST_")}
        domain = told["HOST"].partition(".")[2]
        self.siblings = {node: host for node, host in {**own, **hosts}.items() if host.partition(".")[2] == domain}
        self.contents = {content["swarm"]: content for content in
                         json.loads(Path(told["CONTENT_DIR"], "contents.json").read_text())}
        self.held = {}
        for swarm, content in self.contents.items():
            self.held[swarm] = set()
            with open(self.shelf / swarm, "wb") as file:
                file.truncate(size_of(content))
            whole = Path(told["CONTENT_DIR"], swarm).read_bytes()
            for piece in content["pieces"]:
                if piece["n"] in content["holders"].get(told["NODE"], []):
                    self.put(swarm, piece, whole[piece["first"]:piece["first"] + piece["len"]])
            self.stamp(swarm)

    def listen(self, path):
        """Takes requests on a socket from now on."""
        server = Server(path, Handler)
        server.door = self
        threading.Thread(target=server.serve_forever, daemon=True).start()

    # Pieces

    def put(self, swarm, piece, octets):
        with open(self.shelf / swarm, "r+b") as file:
            file.seek(piece["first"])
            file.write(octets)
        self.stamp(swarm)
        self.held[swarm].add(piece["n"])

    def stamp(self, swarm):
        """A time that all edges give a content, as nginx makes entity tags of time and size."""
        when = int(self.contents[swarm]["sha256"][:7], 16)
        os.utime(self.shelf / swarm, (when, when))

    def tag(self, swarm):
        """The entity tag that nginx makes of it."""
        found = (self.shelf / swarm).stat()
        return f'"{int(found.st_mtime):x}-{found.st_size:x}"'

    def bring(self, swarm, first, last):
        """Fetches what is missing of these octets."""
        for piece in self.contents[swarm]["pieces"]:
            is_touched = piece["first"] <= last and first < piece["first"] + piece["len"]
            if is_touched:
                with self.filling:
                    if piece["n"] not in self.held[swarm]:
                        self.fill(swarm, piece)

    def fill(self, swarm, piece):
        """Fetches a piece from the origin, and keeps it if it is the right one."""
        token = self.token(swarm, piece["first"], piece["len"], self.told["ADDRESS"], self.now() + FETCH_LIMIT)
        last = piece["first"] + piece["len"] - 1
        answer, octets = self.ask_inside("GET", f"/origin/{swarm}?token={token}", {"Range": f"bytes={piece['first']}-{last}"})
        is_right = hashlib.sha256(octets).hexdigest() == piece["sha256"] or self.broken == "digests"
        if answer.status != 206 or not is_right:
            print(f"the origin did not give piece {piece['n']} of {swarm}: {answer.status}", file=sys.stderr)
            raise Refused(404)
        self.put(swarm, piece, octets)
        if any(name.startswith("PEER_CTRL") and name.endswith("_CDN") for name in self.told):
            holdings = json.dumps({"content": swarm, "pieces": sorted(self.held[swarm])})
            self.ask_inside("POST", "/controller/holdings", {"Content-Type": "application/json"}, holdings)

    def ask_inside(self, method, path, headers, body=None):
        connection = Inside(self.inside)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer, answer.read()
        except OSError as error:
            print(f"{method} {path}: {error}", file=sys.stderr)
            raise Refused(404) from error
        finally:
            connection.close()

    # Tokens

    def now(self):
        return int(time.monotonic() - self.began)

    def token(self, swarm, first, length, client, expiry):
        """base64url(expiry, HMAC-SHA-256(key, content, first, length, client, expiry)); numbers have eight octets."""
        expiry = expiry.to_bytes(8, "big")
        address = ipaddress.ip_address(client)
        if address.version == 4:
            address = ipaddress.ip_address(f"::ffff:{address}")
        said = swarm.encode() + first.to_bytes(8, "big") + length.to_bytes(8, "big") + address.packed + expiry
        mac = hmac.new(self.key, said, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(expiry + mac).rstrip(b"=").decode()

    def is_good(self, token, swarm, first, length, client):
        """Whether a token is for just this, and in its time."""
        try:
            expiry = int.from_bytes(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))[:8], "big")
            right = self.token(swarm, first, length, client, expiry)
        except (OverflowError, ValueError):
            return False
        return self.now() < expiry and hmac.compare_digest(token, right)

    # Sessions

    def open(self, text):
        """Makes a session of what a Controller asks."""
        try:
            asked = json.loads(text)
            swarm, client, token = asked["content"], asked["client"], asked["token"]
            first, length = asked["range"]["first"], asked["range"]["len"]
            ipaddress.ip_address(client)
            if not (isinstance(token, str) and isinstance(first, int) and isinstance(length, int)
                    and 0 <= first < 1 << 63 and 0 < length < 1 << 63):
                raise ValueError
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise Refused(400) from error
        if not self.is_good(token, swarm, first, length, client):
            raise Refused(403)
        if swarm not in self.contents or first + length > size_of(self.contents[swarm]):
            raise Refused(404)
        if asked.get("msrp"):
            # Nothing here speaks it.
            raise Refused(501)
        with self.lock:
            late = time.monotonic() - SESSION_LIFETIME
            self.sessions = {name: one for name, one in self.sessions.items() if one["made"] > late}
            if len(self.sessions) >= MOST_SESSIONS:
                raise Refused(409, ("Retry-After", "5"))
        self.bring(swarm, first, first + length - 1)
        with self.lock:
            name = secrets.token_urlsafe(12)
            self.sessions[name] = {"swarm": swarm, "first": first, "length": length, "client": client, "token": token,
                                   "made": time.monotonic(), "is_used": False}
        url = f"http://{self.told['LISTEN_DATA_HTTP']}/content/{swarm}?token={token}"
        return name, json.dumps({"session": name, "url": url})

    def end(self, name):
        with self.lock:
            if self.sessions.pop(name, None) is None:
                raise Refused(404)

    def admit(self, on, client, target, headers):
        """Lets a request for data in, once for each token. Gives the pieces that are held then."""
        path, _, query = target.partition("?")
        swarm = path.removeprefix("/content/")
        token = next((word.removeprefix("token=") for word in query.split("&") if word.startswith("token=")), "")
        if swarm not in self.contents:
            raise Refused(403)
        wanted = self.wanted(swarm, headers)
        with self.lock:
            session = next((one for one in self.sessions.values() if one["token"] == token), None)
            if session:
                whose = client if on == "data" else session["client"]
                end = session["first"] + session["length"] - 1
                is_let_in = (session["swarm"] == swarm
                             and (wanted is None or session["first"] <= wanted[0] and wanted[1] <= end)
                             and self.is_good(token, swarm, session["first"], session["length"], whose)
                             and not session["is_used"])
                session["is_used"] |= is_let_in
        if not session and on == "cdn" and wanted:
            # Inside the CDN a node of it may come with a token of its own, for just what it asks.
            nodes = [self.told[f"PEER_{node}"] for node in self.siblings if f"PEER_{node}" in self.told]
            is_let_in = any(self.is_good(token, swarm, wanted[0], wanted[1] - wanted[0] + 1, node) for node in nodes)
            if is_let_in:
                self.bring(swarm, *wanted)
        elif not session:
            is_let_in = False
        if not is_let_in:
            raise Refused(403)
        return ",".join(map(str, sorted(self.held[swarm])))

    def wanted(self, swarm, headers):
        """The first and the last octet that could be given to this request; None if there is none, and 416."""
        size = size_of(self.contents[swarm])
        whole = (0, size - 1)
        condition = headers.get("X-If-Range")
        if condition and condition != self.tag(swarm):
            return whole
        found = re.fullmatch(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", headers.get("X-Range", ""))
        if not found or found.groups() == ("", ""):
            # None, several, or none that can be read.
            return whole
        first, last = found.groups()
        if not first:
            first, last = max(0, size - int(last)), size - 1
        else:
            first, last = int(first), min(size - 1, int(last)) if last else size - 1
        return (first, last) if first <= last else None

    def is_its_controller(self, verified, subject):
        """Whether a certificate is that of the Controller of the same CDN."""
        hosts = [host for node, host in self.siblings.items() if node.startswith("CTRL")]
        return verified == "SUCCESS" and subject in [f"CN={host}" for host in hosts]


def size_of(content):
    return sum(piece["len"] for piece in content["pieces"])


class Inside(http.client.HTTPConnection):
    """A connection to a socket of nginx's."""

    def __init__(self, path):
        super().__init__("inside", timeout=FETCH_LIMIT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class Handler(http.server.BaseHTTPRequestHandler):
    """What comes from nginx or Varnish, who say of whom they have it."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body="", headers=()):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def handle_request(self):
        door, path = self.server.door, self.path.partition("?")[0]
        length = min(int(self.headers.get("Content-Length") or 0), 1 << 16)
        body = self.rfile.read(length)
        try:
            if path == "/admit":
                held = self.admitted(door)
                return self.answer(204, headers=[("X-Held", held)])
            if self.headers["X-Security"] == "https" and not door.is_its_controller(
                    self.headers["X-Verified"], self.headers["X-Subject"]):
                raise Refused(403)
            name = path.removeprefix("/p2pcds/sessions").lstrip("/")
            if path == "/p2pcds/sessions":
                if self.command != "POST":
                    raise Refused(405, ("Allow", "POST"))
                name, document = door.open(body)
                return self.answer(201, document, [("Content-Type", "application/json"), ("Location", f"{path}/{name}")])
            if self.command != "DELETE" or not path.startswith("/p2pcds/sessions/"):
                raise Refused(404)
            door.end(name)
            return self.answer(204)
        except Refused as refused:
            return self.answer(refused.status, headers=refused.headers)

    def admitted(self, door):
        try:
            return door.admit(self.headers["X-On"], self.headers["X-Client"], self.headers["X-Target"], self.headers)
        except Refused as refused:
            # nginx knows no other no.
            raise Refused(403) from refused

    do_GET = do_POST = do_DELETE = do_PUT = do_HEAD = handle_request

    def address_string(self):
        return "inside"

    def log_message(self, *_):
        pass
