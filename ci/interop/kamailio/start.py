#!/usr/bin/env python3
"""Starts Kamailio as the CSCFs that PEERPROOF_NODE names, and prints "ready" once it listens and its Cx links stand.

Usage: start.py [--broken NAME]…    each NAME is defined in the configurations as BROKEN_NAME

Reads the contract of guests (fixtures/README.md). Kamailio finds hosts by DNS, so a mount namespace of its own shows it
a resolv.conf that leads to a name server in this process, which knows the hosts of the contract and nothing else: no
question leaves the machine. Needs root.
"""

import ctypes
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOLD = {name[len("PEERPROOF_"):]: value for name, value in os.environ.items() if name.startswith("PEERPROOF_")}
OWN = TOLD["NODE"].split()
DOMAIN = TOLD["DOMAIN"]
LIBC = ctypes.CDLL(None, use_errno=True)


def variable(node):
    return node.upper().replace("-", "_")


def told(what, node, point=None):
    """What the contract says of a node: its HOST, its ADDRESS, or where it listens."""
    of = variable(node)
    after = f"_{point}" if point else ""
    if node in OWN:
        name = {"host": "HOST", "ip": "ADDRESS", "listen": "LISTEN"}[what]
        return TOLD.get(name + after if len(OWN) == 1 else f"{name}_{of}{after}")
    name = {"host": "PEER_HOST", "ip": "PEER", "listen": "PEER"}[what]
    return TOLD.get(f"{name}_{of}{after}")


def nodes():
    """Every node of the topology by name."""
    others = [name[len("PEER_HOST_"):].lower().replace("_", "-") for name in TOLD if name.startswith("PEER_HOST_")]
    return OWN + [node for node in others if node not in OWN]


def of_role(role):
    """The first node of a role, our own first: `i-cscf` of `i-cscf` and `i-cscf-2`."""
    return next((node for node in nodes() if re.fullmatch(rf"{role}(-\d+)?", node)), None)


def fill(template, values):
    def value(found):
        return str(values[found.group(1)])

    return re.sub(r"@([A-Z_]+)@", value, (HERE / template).read_text())


# Names.


class Names(threading.Thread):
    """A name server for the hosts of the contract: A, SRV and NAPTR, over UDP."""

    def __init__(self, ip):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((ip, 53))
        self.hosts = {told("host", node).lower(): told("ip", node) for node in nodes() if told("host", node)}
        # Where SIP without a port goes: application servers on Isc, CSCFs on Mw, the home domain to its I-CSCF.
        self.sip = {}
        for node in nodes():
            listen = told("listen", node, "ISC" if node.startswith("tracker") else "MW")
            if listen:
                self.sip[told("host", node).lower()] = (told("host", node), int(listen.rsplit(":", 1)[1]))
        if of_role("i-cscf"):
            self.sip[DOMAIN.lower()] = self.sip[told("host", of_role("i-cscf")).lower()]

    def run(self):
        while True:
            question, asker = self.socket.recvfrom(4096)
            try:
                self.socket.sendto(self.answer(question), asker)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue  # no question that can be read

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode("ascii").lower())
            at += 1 + question[at]
        (kind,) = struct.unpack("!H", question[at + 1:at + 3])
        name = ".".join(labels)
        records = self.records(name, kind)
        is_known = records or name in self.hosts or name in self.sip
        flags = 0x8580 if is_known else 0x8583
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
        body = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 3600, len(data)) + data for data in records)
        return head + question[12:at + 5] + body

    def records(self, name, kind):
        if kind == 1 and name in self.hosts:
            return [socket.inet_aton(self.hosts[name])]
        if kind == 33 and name.startswith("_sip._tcp.") and name[len("_sip._tcp."):] in self.sip:
            host, port = self.sip[name[len("_sip._tcp."):]]
            return [struct.pack("!HHH", 1, 1, port) + in_labels(host)]
        if kind == 35 and name in self.sip:
            texts = b"".join(bytes([len(text)]) + text for text in (b"s", b"SIP+D2T", b""))
            return [struct.pack("!HH", 1, 1) + texts + in_labels(f"_sip._tcp.{name}")]
        return []


def in_labels(name):
    return b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0"


def see_own_names(ip, folder):
    """From now on this process and its children read a resolv.conf and a hosts file of their own."""
    CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
    def must(result, what):
        if result:
            sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}: run this as root, where mounts are allowed")

    must(LIBC.unshare(CLONE_NEWNS), "a mount namespace")
    must(LIBC.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    for name, text in (("resolv.conf", f"nameserver {ip}\noptions timeout:1 attempts:1\n"), ("hosts", "")):
        own = folder / name
        own.write_text(text)
        must(LIBC.mount(bytes(own), f"/etc/{name}".encode(), None, MS_BIND, None), f"/etc/{name}")


# The CSCFs.


def without_net_admin():
    """ims_ipsec_pcscf flushes the IPsec policies of the whole machine when it starts and ends; let it fail."""
    PR_CAPBSET_DROP, CAP_NET_ADMIN = 24, 12
    LIBC.prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN, 0, 0, 0)


def modules():
    found = sorted(Path("/usr/lib").glob("*/kamailio/modules")) + sorted(Path("/usr/lib/kamailio").glob("modules"))
    if not found:
        sys.exit("no modules of kamailio below /usr/lib: install kamailio and kamailio-ims-modules")
    return f"{found[0]}/"


class Cscf:
    def __init__(self, node, folder, broken):
        self.node = node
        self.role = re.sub(r"-\d+$", "", node)
        folder.mkdir()
        self.control = folder / "control"
        points = {"p-cscf": ("GM", "MW"), "i-cscf": ("MW", "ISC"), "s-cscf": ("MW", "ISC")}[self.role]
        host, self.listen = told("host", node), {}
        values = {
            "IP": told("ip", node), "HOST": host, "DOMAIN": DOMAIN, "CONTROL": self.control, "MODULES": modules(),
            "DB": folder / "db", "CDP": folder / "cdp.xml", "PSI": re.escape(TOLD["TRACKER_PSI"]),
            "HSS": told("host", "hss") or "", "CX_PORT": (told("listen", "hss", "CX") or ":0").rsplit(":", 1)[1],
        }
        lines = []
        for point in points:
            listen = told("listen", node, point)
            if not listen:
                continue
            ip, port = listen.rsplit(":", 1)
            self.listen[point] = (ip, int(port))
            values |= {f"{point}_IP": ip, f"{point}_PORT": port}
            lines.append(f'listen=tcp:{ip}:{port} advertise {host}:{port}')
            lines.append(f'alias="{host}:{port}"')
            lines.append(f'alias="{ip}:{port}"')
        values["LISTEN"] = "\n".join(lines)
        values["URI"] = f"sip:{host}:{values['MW_PORT']}"
        for role in ("i-cscf", "s-cscf"):
            at = of_role(role)
            values[variable(role)] = told("listen", at, "MW") if at else ""
        for name, roles in (("P_CSCFS", "p-cscf"), ("CSCFS", "[pis]-cscf"), ("SERVERS", "tracker")):
            these = [told("ip", other) for other in nodes() if re.fullmatch(rf"({roles})(-\d+)?", other)]
            values[name] = "|".join(re.escape(ip) for ip in these)
        values["COMMON"] = fill("common.cfg", values)
        (folder / "kamailio.cfg").write_text(fill(f"{self.role}.cfg", values))
        (folder / "cdp.xml").write_text(fill("cdp.xml", values))
        self.tables(folder / "db")
        command = ["kamailio", "-DD", "-E", "-f", folder / "kamailio.cfg", "-m", "64", "-M", "8", "-w", folder, "-Y", folder]
        for name in broken:
            command += ["-A", f"BROKEN_{name}"]
        self.process = subprocess.Popen(command, stdout=sys.stderr, preexec_fn=without_net_admin)

    def tables(self, folder):
        """Databases of text files: what the I-CSCF knows of S-CSCFs, where the P-CSCF keeps its subscriptions."""
        folder.mkdir()
        for table in ("version", "pua"):
            shutil.copy(f"/usr/share/kamailio/dbtext/kamailio/{table}", folder)
        servers = [node for node in nodes() if re.fullmatch(r"s-cscf(-\d+)?", node)]
        rows = [f"{n}:{node}:sip\\:{told('host', node)}\\:{told('listen', node, 'MW').rsplit(':', 1)[1]}"
                for n, node in enumerate(servers, 1)]
        (folder / "nds_trusted_domains").write_text(f"id(int) trusted_domain(string)\n1:{DOMAIN}\n")
        (folder / "s_cscf").write_text("\n".join(["id(int) name(string) s_cscf_uri(string)", *rows]) + "\n")
        (folder / "s_cscf_capabilities").write_text(
            "\n".join(["id(int) id_s_cscf(int) capability(int)", *(f"{n}:{n}:1" for n in range(1, len(rows) + 1))]) + "\n")

    def is_ready(self):
        for address in self.listen.values():
            try:
                socket.create_connection(address, 0.2).close()
            except OSError:
                return False
        if self.role == "p-cscf" or not told("host", "hss"):
            return True
        asked = subprocess.run(["kamcmd", "-s", f"unix:{self.control}", "cdp.list_peers"],
                               capture_output=True, text=True, timeout=5)
        return bool(re.search(r"I_Open|R_Open", asked.stdout))


def main():
    broken = [name for flag, name in zip(sys.argv[1:], sys.argv[2:]) if flag == "--broken"]
    with tempfile.TemporaryDirectory(prefix="kamailio-") as folder:
        folder = Path(folder)
        ip = told("ip", OWN[0])
        if ":" in ip:
            sys.exit(127)  # one address for all: the name server would need a port of its own
        Names(ip).start()
        see_own_names(ip, folder)
        cscfs = []

        def stop(*_, status=0):
            # Whoever started us ends our whole process group; this is for those who start us by hand.
            for cscf in cscfs:
                cscf.process.terminate()
            sys.exit(status)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        for node in OWN:
            cscfs.append(Cscf(node, folder / node, broken))
        waiting = list(cscfs)
        while waiting:
            time.sleep(0.02)
            waiting = [cscf for cscf in waiting if not cscf.is_ready()]
            for cscf in cscfs:
                if cscf.process.poll() is not None:
                    print(f"{cscf.node}: kamailio ended with status {cscf.process.returncode}", file=sys.stderr)
                    stop(status=1)
        print("ready", flush=True)
        while all(cscf.process.poll() is None for cscf in cscfs):
            time.sleep(0.1)
        print("a kamailio ended", file=sys.stderr)
        stop(status=1)


main()
