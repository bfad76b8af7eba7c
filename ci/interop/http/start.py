#!/usr/bin/env python3
"""Starts nginx, or Varnish before an nginx, as the origin or an edge of a CDN, and prints "ready" once it takes connections.

Usage: start.py nginx|varnish [--broken ranges|tags|conditions]                       an origin
       start.py nginx-edge [--broken ranges|tags|tokens|digests]                      an edge
       start.py varnish-edge [--broken tokens|once]

What is broken is what the configuration then has them not do. Reads the contract of guests (fixtures/README.md).

An origin serves contents under /content/, from the folder they come in. The token in a URL is not looked at: whoever
reaches an origin inside its CDN is trusted. An edge has a door (door.py) that speaks with its Controller and knows who may
have what; the data itself is given by nginx, or by Varnish that has it from nginx, which ask the door before each request.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from door import Door

NGINX = """daemon off;
user root;
worker_processes 1;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server_tokens off;
    {broken}
{servers}
}}
"""

ORIGIN = """    server {{
{listen}
        location = /content/contents.json {{ return 404; }}
        location /content/ {{ alias {contents}/; }}
        location / {{ return 404; }}
    }}
"""

# Who comes by Cdn or Data; the door says who may.
EDGE = """    server {{
        listen {at}{tls};
        location = /admit {{
            internal;
            proxy_pass http://unix:{folder}/door;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-On {on};
            proxy_set_header X-Client $remote_addr;
            proxy_set_header X-Target $request_uri;
            proxy_set_header X-Range $http_range;
            proxy_set_header X-If-Range $http_if_range;
        }}
        location /content/ {{
            {admit}
            alias {contents}/;
        }}
        {sessions}
        location / {{ return 404; }}
    }}
"""

SESSIONS = """location /p2pcds/sessions {{
            proxy_pass http://unix:{folder}/door;
            proxy_set_header X-Security $scheme;
            proxy_set_header X-Verified $ssl_client_verify;
            proxy_set_header X-Subject $ssl_client_s_dn;
        }}"""

LISTENS_WITH_TLS = """ ssl;
        ssl_certificate {TLS_CERTIFICATE};
        ssl_certificate_key {TLS_KEY};
        ssl_client_certificate {TLS_AUTHORITY};
        ssl_verify_client optional"""

ASKS_WITH_TLS = """proxy_ssl_certificate {TLS_CERTIFICATE};
            proxy_ssl_certificate_key {TLS_KEY};
            proxy_ssl_trusted_certificate {TLS_AUTHORITY};
            proxy_ssl_verify on;
            proxy_ssl_name {host};
"""

# What the door, and Varnish, have of nginx: the other nodes of the CDN, and the pieces that are held.
INSIDE = """    server {{
        listen unix:{folder}/inside;
        location /content/ {{ alias {contents}/; }}
{others}
    }}
"""

OTHER = """        location /{what}/ {{
            proxy_pass {scheme}://{at}{path}/;
            proxy_bind {own};
            proxy_http_version 1.1;
            proxy_set_header Host {at};
            proxy_set_header Connection "";
            {tls}
        }}
"""

VARNISH = """vcl 4.1;

backend origin {{
    .host = "{host}";
    .port = "{port}";
}}

sub vcl_recv {{
    # The token is no part of what is asked for.
    set req.url = regsub(req.url, "\\?.*$", "");
}}
"""

# Each request is put to the door first, and begun again if that lets it in. What is cached depends on what is held, as
# what is not held is a hole.
VARNISH_EDGE = """vcl 4.1;

backend door {{ .path = "{folder}/door"; }}
backend pieces {{ .path = "{folder}/inside"; }}

sub vcl_recv {{
    if (req.method != "GET" && req.method != "HEAD") {{
        return (synth(405));
    }}
    if (req.restarts == 0) {{
        {unasked}
        set req.http.X-On = "data";
        set req.http.X-Client = client.ip;
        set req.http.X-Target = req.url;
        set req.http.X-Range = req.http.Range;
        set req.http.X-If-Range = req.http.If-Range;
        unset req.http.Range;
        set req.url = "/admit";
        set req.backend_hint = door;
        return ({asked});
    }}
    set req.url = regsub(req.http.X-Target, "\\?.*$", "");
    if (req.http.X-Range != "") {{
        set req.http.Range = req.http.X-Range;
    }}
    set req.backend_hint = pieces;
    return (hash);
}}

sub vcl_hash {{
    if (req.restarts == 0) {{
        hash_data(req.http.X-Target + " " + req.http.X-Range);
    }}
    hash_data(req.url);
    hash_data(req.http.X-Held);
    return (lookup);
}}

sub vcl_deliver {{
    if (req.restarts == 0 && req.url == "/admit" && resp.status == 204) {{
        set req.http.X-Held = resp.http.X-Held;
        return (restart);
    }}
}}

sub vcl_backend_response {{
    set beresp.ttl = 1h;
    if (beresp.status >= 400) {{
        set beresp.ttl = 0s;
    }}
}}
"""

# Varnish asks the door nothing, and takes what it finds.
UNASKED = """set req.url = regsub(req.url, "\\?.*$", "");
        set req.backend_hint = pieces;
        return (hash);
"""

BROKEN = {
    "ranges": "max_ranges 0;",
    "tags": "etag off;",
    "conditions": "if_modified_since off; etag off; add_header ETag '\"always-the-same\"';",
}


def main():
    what, _, role = sys.argv[1].partition("-")
    broken = sys.argv[3] if sys.argv[2:3] == ["--broken"] else None
    told = {name.removeprefix("PEERPROOF_"): value for name, value in os.environ.items() if name.startswith("PEERPROOF_")}
    with tempfile.TemporaryDirectory(prefix="http-") as folder:
        processes = []

        def stop(*_, status=0):
            # Whoever started us ends our whole process group; this is for those who start us by hand.
            for process in processes:
                process.terminate()
            sys.exit(status)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        # The workers of nginx read what the harness wrote for itself alone.
        contents = Path(folder, "contents")
        if role == "edge":
            contents.mkdir()
            door = Door(told, contents, f"{folder}/inside", broken)
            door.listen(f"{folder}/door")
            commands = edge(what, told, folder, contents, broken)
        else:
            shutil.copytree(told["CONTENT_DIR"], contents)
            commands = origin(what, told, folder, contents, broken)
        for command, at in commands:
            processes.append(subprocess.Popen(command, stdout=sys.stderr))
            wait_for(at, processes, stop)
        print("ready", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.1)
        stop(status=1)


def origin(what, told, folder, contents, broken):
    """The commands of an origin, each with where it listens."""
    listen = [told[name] for name in ("LISTEN_CDN", "LISTEN_DATA_HTTP") if name in told]
    own = listen if what == "nginx" else [told["CONTROL"]]
    server = ORIGIN.format(contents=contents, listen="\n".join(f"        listen {address};" for address in own))
    commands = [(nginx(folder, server, broken), own)]
    if what == "varnish":
        host, port = told["CONTROL"].rsplit(":", 1)
        commands.append((varnish(folder, VARNISH.format(host=host, port=port), listen), listen))
    return commands


def edge(what, told, folder, contents, broken):
    """The commands of an edge, each with where it listens."""
    domain = told["HOST"].partition(".")[2]
    listens_with_tls = told.get("LISTEN_CDN_TRANSPORT") == "tls"
    admit = "" if broken == "tokens" else "auth_request /admit;"
    common = {"folder": folder, "contents": contents, "admit": admit}
    servers = [EDGE.format(**common, at=told["LISTEN_CDN"], on="cdn", sessions=SESSIONS.format(folder=folder),
                           tls=LISTENS_WITH_TLS.format(**told) if listens_with_tls else "")]
    own = [told["LISTEN_CDN"]]
    if what == "nginx":
        own.append(told["LISTEN_DATA_HTTP"])
        servers.append(EDGE.format(**common, at=told["LISTEN_DATA_HTTP"], on="data", sessions="", tls=""))
    others = []
    for node, (place, path) in {"OS_1": ("origin", "/content"), "CTRL": ("controller", "/p2pcds")}.items():
        if f"PEER_{node}_CDN" in told and told[f"PEER_HOST_{node}"].partition(".")[2] == domain:
            is_tls = told[f"PEER_{node}_CDN_TRANSPORT"] == "tls"
            others.append(OTHER.format(
                what=place, path=path, at=told[f"PEER_{node}_CDN"], own=told["ADDRESS"], scheme="https" if is_tls else "http",
                tls=ASKS_WITH_TLS.format(**told, host=told[f"PEER_HOST_{node}"]) if is_tls else ""))
    servers.append(INSIDE.format(folder=folder, contents=contents, others="".join(others)))
    commands = [(nginx(folder, "".join(servers), broken), own)]
    if what == "varnish":
        # What is cached lets in once more whoever was let in.
        vcl = VARNISH_EDGE.format(folder=folder, unasked=UNASKED if broken == "tokens" else "",
                                  asked="hash" if broken == "once" else "pass")
        commands.append((varnish(folder, vcl, [told["LISTEN_DATA_HTTP"]]), [told["LISTEN_DATA_HTTP"]]))
    return commands


def nginx(folder, servers, broken):
    """The command of an nginx with these servers."""
    configuration = Path(folder, "nginx.conf")
    configuration.write_text(NGINX.format(folder=folder, servers=servers, broken=BROKEN.get(broken, "")))
    return ["nginx", "-c", str(configuration), "-e", "stderr"]


def varnish(folder, vcl, listen):
    """The command of a Varnish with this configuration."""
    configuration = Path(folder, "varnish.vcl")
    configuration.write_text(vcl)
    return ["varnishd", "-F", "-j", "none", "-n", f"{folder}/varnish", "-f", str(configuration), "-s", "malloc,64m",
            "-T", "none", *(word for at in listen for word in ("-a", at))]


def wait_for(addresses, processes, stop):
    """Until all take connections."""
    waiting = list(addresses)
    while waiting:
        host, port = waiting[0].rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), 0.2).close()
            waiting.pop(0)
        except OSError:
            time.sleep(0.02)
        if any(process.poll() is not None for process in processes):
            print("a process ended", file=sys.stderr)
            stop(status=1)


main()
