# Sourced by the checks that ask clusters of three processes with a program of Python's. It is run where the
# repository is, and leaves behind:
#
#   $duorum                 the binary: DUORUM=… names another one than target/debug/duorum
#   $tools                  an environment of Python's with what .ci/requirements.txt names
#   $scratch                a directory that is gone at the end
#   start PROTOCOL [FLAG]…  starts three nodes, and waits until they are ready. Then $data is the directory of
#                           their data and logs, $ports has the ports of their HTTP, $leader says who leads,
#                           and $asked which node shall be asked: one that does not lead
#   stop                    ends them
#   check_nodes             fails unless all of them are alive, and none has panicked
#
# shellcheck shell=bash

duorum=${DUORUM:-${CARGO_TARGET_DIR:-target}/debug/duorum}
[ -x "$duorum" ] || cargo build --quiet --package server --bin duorum
duorum=$(realpath "$duorum")

# Kept as long as the versions are the same.
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/ci-python
if ! cmp --silent .ci/requirements.txt "$tools/requirements.txt"; then
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        apt-get update -qq
        apt-get install -y -qq python3-venv
    fi
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement .ci/requirements.txt
    cp .ci/requirements.txt "$tools/requirements.txt"
fi

scratch=$(mktemp -d)
nodes=()
stop() {
    [ "${#nodes[@]}" -eq 0 ] || kill "${nodes[@]}" 2>/dev/null || true
    wait
    nodes=()
}
trap 'stop; rm -rf "$scratch"' EXIT

free_ports() {
    "$tools/bin/python" - <<'PYTHON'
import socket

sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*(held.getsockname()[1] for held in sockets))
PYTHON
}

start() {
    local protocol=$1 id all port
    shift
    data=$scratch/$protocol
    mkdir "$data"
    read -r -a all < <(free_ports)
    ports=("${all[@]:0:3}")
    for id in 1 2 3; do
        "$duorum" serve --protocol "$protocol" --id "$id" --data-dir "$data/$id" \
            --http "127.0.0.1:${all[id - 1]}" --peer "127.0.0.1:${all[id + 2]}" \
            --cluster "1=127.0.0.1:${all[3]},2=127.0.0.1:${all[4]},3=127.0.0.1:${all[5]}" \
            "$@" >"$data/$id.log" 2>&1 &
        nodes+=($!)
    done
    for port in "${ports[@]}"; do
        curl --silent --fail --output /dev/null --retry 100 --retry-delay 0 --retry-max-time 30 \
            --retry-all-errors "http://127.0.0.1:$port/readyz"
    done
    leader=$(curl --silent --head "http://127.0.0.1:${ports[0]}/livez" | tr -d '\r' |
        sed -n 's/^duorum-leader: //p')
    asked=1
    [ "$leader" != 1 ] || asked=2
    echo "$protocol: node $asked is asked, node $leader leads"
}

check_nodes() {
    local port
    for port in "${ports[@]}"; do
        curl --silent --fail --output /dev/null "http://127.0.0.1:$port/livez"
    done
    if grep --line-number "panicked" "$data"/*.log; then
        echo "a node panicked"
        return 1
    fi
}
