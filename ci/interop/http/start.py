#!/usr/bin/env python3
"""Starts nginx as the origin of a CDN, or Varnish before an nginx, and prints "ready" once it takes connections.

Usage: start.py nginx|varnish [--broken ranges|tags|conditions]    what nginx is then configured not to do

Reads the contract of guests (fixtures/README.md): contents are served under /content/, from the folder they come in. The
token in a URL is not looked at: whoever reaches an origin inside its CDN is trusted.
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
    server {{
{listen}
        location = /content/contents.json {{ return 404; }}
        location /content/ {{ alias {contents}/; }}
        location / {{ return 404; }}
    }}
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

BROKEN = {
    "ranges": "max_ranges 0;",
    "tags": "etag off;",
    "conditions": "if_modified_since off; etag off; add_header ETag '\"always-the-same\"';",
}


def main():
    what = sys.argv[1]
    broken = sys.argv[3] if sys.argv[2:3] == ["--broken"] else None
    listen = [os.environ[name] for name in ("PEERPROOF_LISTEN_CDN", "PEERPROOF_LISTEN_DATA_HTTP") if name in os.environ]
    with tempfile.TemporaryDirectory(prefix="http-") as folder:
        processes = []

        def stop(*_, status=0):
            # Whoever started us ends our whole process group; this is for those who start us by hand.
            for process in processes:
                process.terminate()
            sys.exit(status)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        behind = os.environ["PEERPROOF_CONTROL"]
        own = listen if what == "nginx" else [behind]
        # The workers of nginx read what the harness wrote for itself alone.
        contents = Path(folder, "contents")
        shutil.copytree(os.environ["PEERPROOF_CONTENT_DIR"], contents)
        Path(folder, "nginx.conf").write_text(NGINX.format(
            folder=folder, contents=contents, broken=BROKEN.get(broken, ""),
            listen="\n".join(f"        listen {address};" for address in own)))
        processes.append(subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", "stderr"], stdout=sys.stderr))
        if what == "varnish":
            wait_for([behind], processes, stop)
            host, port = behind.rsplit(":", 1)
            Path(folder, "varnish.vcl").write_text(VARNISH.format(host=host, port=port))
            command = ["varnishd", "-F", "-j", "none", "-n", f"{folder}/varnish", "-f", f"{folder}/varnish.vcl",
                       "-s", "malloc,64m", "-T", "none"]
            processes.append(subprocess.Popen([*command, *(word for at in listen for word in ("-a", at))], stdout=sys.stderr))
        wait_for(listen, processes, stop)
        print("ready", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.1)
        stop(status=1)


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
