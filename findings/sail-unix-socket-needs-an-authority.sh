#!/usr/bin/env bash
# What: a PySpark Connect client that reaches Sail through a Unix socket gets "Stream removed (RST_STREAM)" on its first call.
# Where: gRPC for Python sends the socket's percent-encoded path as HTTP/2 :authority; the Rust server refuses it as malformed.
# Versions: pysail 0.7.2, pyspark 4.2.0, grpcio 1.76.0.
# Inconsistent: the same bytes through the same relay pass once the channel has the option grpc.default_authority.
# Why it matters: a Unix socket is the usual way to keep a server without a password private; the error names no cause.
# Instead: set the channel option ("grpc.default_authority", "localhost").
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile pysail==0.7.2 'pyspark[connect]==4.2.0' grpcio==1.76.0 grpcio-status==1.76.0

cat > finding.py <<'PY'
import contextlib
import os
import socket
import sys
import threading

from pysail.spark import SparkConnectServer
from pyspark.sql.connect.client import ChannelBuilder
from pyspark.sql.connect.session import SparkSession

server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind("engine.sock")
listener.listen()


def copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def relay():
    while True:
        client, _ = listener.accept()
        other = socket.create_connection(server.listening_address)
        for pair in ((client, other), (other, client)):
            threading.Thread(target=copy, args=pair, daemon=True).start()


threading.Thread(target=relay, daemon=True).start()


class Builder(ChannelBuilder):
    host = "engine.sock"

    def toChannel(self):
        return self._insecure_channel(f"unix:{os.path.abspath('engine.sock')}")


def version(options):
    spark = SparkSession.builder.channelBuilder(Builder(options)).create()
    spark.client.set_retry_policies([])
    try:
        return spark.version
    except Exception as error:
        return str(error)


without = version([])
with_option = version([("grpc.default_authority", "localhost")])
print("pysail 0.7.2, grpcio 1.76.0")
print("expected: both calls give the server's version")
print("seen without the option:", next((line.strip() for line in without.splitlines() if "RST_STREAM" in line), without))
print("seen with the option:   ", with_option)

checks = [
    ("without an authority the stream is reset", "RST_STREAM" in without),
    ("with one the call is answered", with_option.startswith("4.")),
]
changes = [text for text, holds in checks if not holds]
for text in changes:
    print("CHANGED:", text)
sys.stdout.flush()
os._exit(1 if changes else 0)
PY

status=0
venv/bin/python finding.py 2> log || status=$?
if [ "$status" -ne 0 ]; then
    tail -n 5 log >&2
    echo "$(basename "$0"): the behaviour differs from the description" >&2
    exit 1
fi
