#!/usr/bin/env bash
# Shows that a `block-stream` of QEMU that has ended well can be lost: the process is killed right after it, and the
# image no longer shows what it has taken in, while `qemu-img check` finds nothing wrong with it.
# Needs qemu-img, qemu-io, qemu-storage-daemon and python3. Works in a folder of its own.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill -9 $(cat "$dir/pid" 2>/dev/null) 2>/dev/null; rm -rf "$dir"' EXIT
cd "$dir"
qemu-img create -q -f qcow2 base 64M
qemu-img create -q -f qcow2 -b base -F qcow2 layer
qemu-io -c 'write -P 0x21 8M 16M' layer >/dev/null
qemu-img create -q -f qcow2 -b layer -F qcow2 leaf
qemu-storage-daemon --chardev socket,id=m,path=qmp,server=on,wait=off --monitor m --pidfile pid --daemonize \
  --blockdev driver=qcow2,node-name=disk,file.driver=file,file.filename=leaf
python3 - <<'PYTHON'
import json, socket
monitor = socket.socket(socket.AF_UNIX)
monitor.connect("qmp")
stream = monitor.makefile("rw")
def tell(command, **arguments):
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
def until(wanted):
    for line in stream:
        told = json.loads(line)
        if "error" in told:
            raise SystemExit(told["error"]["desc"])
        if told.get("event") == wanted or (wanted == "return" and "return" in told):
            return told
tell("qmp_capabilities")
until("return")
nodes = "query-named-block-nodes"
tell(nodes, flat=True)
base = next(one["node-name"] for one in until("return")["return"] if one["file"] == "base" and one["drv"] == "qcow2")
tell("block-stream", **{"job-id": "s", "device": "disk", "base-node": base})
print("QEMU says:", until("BLOCK_JOB_COMPLETED")["data"])
PYTHON
kill -9 "$(cat pid)"
sleep 0.5
qemu-img check leaf
qemu-img info leaf | grep 'backing file:'
case $(qemu-io -c 'read -P 0x21 8M 16M' leaf) in
  *"verification failed"*) echo "What the layer held is gone from the leaf." ;;
  *) echo "Nothing is lost with this QEMU." ;;
esac
