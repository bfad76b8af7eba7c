#!/usr/bin/env python3
"""SIPp as a user peer: answers what comes; registers, and announces what it holds, when it is pushed.

Usage: start.py         answers until it is stopped
       start.py push    carries out the order in PEERPROOF_ACTION

Reads the contract of guests (fixtures/README.md). It does the signalling alone, and declines (127) what needs data.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOLD = {name[len("PEERPROOF_"):]: value for name, value in os.environ.items() if name.startswith("PEERPROOF_")}
# What an order leaves for the next: a folder of this scenario's.
FOLDER = Path(TOLD["SUBSCRIBERS"]).parent
IP, PORT = TOLD["LISTEN_GM"].rsplit(":", 1)
USER = next(user for user in json.loads(Path(TOLD["SUBSCRIBERS"]).read_text()) if user["id"] == TOLD["USER"])


def sipp(scenario, *words, **keys):
    """A command line; what stands in brackets in a scenario is given by name."""
    keys |= {"listen": TOLD["LISTEN_GM"], "domain": TOLD["DOMAIN"], "impu": USER["impus"][0]}
    command = ["sipp", *words, "-sf", str(HERE / scenario), "-i", IP, "-t", "t1", "-nostdin"]
    for name, value in keys.items():
        command += ["-key", name, value]
    return command


def once(scenario, *words, **keys):
    """Plays one call towards the P-CSCF, from a port of its own, as any connection of a client's."""
    command = sipp(scenario, TOLD["PEER_P_CSCF_GM"], *words, "-m", "1", "-p", "5998", "-timeout", "5", "-timeout_error",
                   "-au", USER["impi"], "-ap", USER["password"], **keys)
    return subprocess.run(command, stdout=subprocess.DEVNULL, cwd=FOLDER).returncode


def announcement():
    """What the tracker is told: the content of the order, and which pieces (RFC 7846)."""
    order = json.loads(TOLD["ACTION"])
    address = {"ip_address": {"address_type": "ipv4", "address": IP}, "port": 2855, "priority": 10, "type": "HOST"}
    holds = {"sip_uri": USER["impus"][0], "pieces": order["pieces"], "role": "user"}
    join = {"swarm_id": order["swarm"], "action": "JOIN", "peer_mode": "SEEDER", "cds": holds}
    return {"PPSPTrackerProtocol": {
        "version": 1, "request_type": "CONNECT", "transaction_id": "t-1",
        "peer_id": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, USER['impus'][0])}",
        "connect": {"peer_addr": [address], "swarm_action": [join]},
    }}


def push():
    match TOLD["DO"]:
        case "register":
            sys.exit(once("register.xml", "-trace_logs", "-log_file", "service-route", impi=USER["impi"]))
        case "announce":
            (FOLDER / "publish.json").write_text(json.dumps(announcement()))
            sys.exit(once("publish.xml", route=(FOLDER / "service-route").read_text().strip()))
        case _:
            sys.exit(127)


def serve():
    scenario = TOLD["INSTANCE"].split("@")[0]
    if scenario not in (HERE / "scenarios").read_text().split():
        print(f"{scenario} needs data, or more of a user peer than these scenarios of SIPp have", file=sys.stderr)
        sys.exit(127)
    answering = subprocess.Popen(sipp("answer.xml", "-p", PORT, "-aa"), stdout=subprocess.DEVNULL, cwd=FOLDER)
    signal.signal(signal.SIGTERM, lambda *_: (answering.terminate(), sys.exit(0)))
    while not is_listening():
        if answering.poll() is not None:
            sys.exit("sipp ended before it listened")
        time.sleep(0.02)
    print("ready", flush=True)
    sys.exit(answering.wait())


def is_listening():
    """Whether somebody listens where we were told to; a connection to find out would be a call to SIPp."""
    at = "{:08X}:{:04X}".format(*struct.unpack("<I", socket.inet_aton(IP)), int(PORT))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1] == at and line.split()[3] == "0A" for line in lines)


push() if sys.argv[1:] == ["push"] else serve()
