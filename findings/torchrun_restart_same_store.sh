#!/usr/bin/env bash
# torch 2.13.0: processes that torchrun starts again meet in the store of the start before, with all that it held.
# Seen: a process sets a key in the store of its process group's rendezvous and fails; after torchrun's restart the key is there.
# A good guess: an empty store at each start, as a job started by hand has it; a comment in the source says that one is made for
# every retry. Addresses of processes that are gone are read as if they were new: after one of two was killed, both waited in
# init_process_group until their half hour was over, though not at every restart. With TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 the store is new.
# Exits non-zero if that changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > work.py <<'PYTHON'
import os
import sys

from torch.distributed.rendezvous import rendezvous

store, rank, size = next(iter(rendezvous("env://")))
print("restart", os.environ["TORCHELASTIC_RESTART_COUNT"], "finds the key:", store.check(["address"]), flush=True)
store.set("address", "of a process that is gone")
sys.exit(os.environ["TORCHELASTIC_RESTART_COUNT"] == "0")
PYTHON
run() {
  v/bin/python -m torch.distributed.run --nnodes 1 --nproc-per-node 1 --max-restarts 1 --rdzv-backend c10d \
    --rdzv-endpoint 127.0.0.1:0 --local-addr 127.0.0.1 work.py 2>/dev/null
}
echo "shared, the default:"; run | tee shared.txt
echo "not shared:"; TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 run | tee apart.txt
[ "$(cat shared.txt)" = $'restart 0 finds the key: False\nrestart 1 finds the key: True' ]
[ "$(cat apart.txt)" = $'restart 0 finds the key: False\nrestart 1 finds the key: False' ]
