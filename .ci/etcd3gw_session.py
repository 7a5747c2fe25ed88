"""A session of etcd3gw: everything that it can do, in its own words.

etcd3gw_session.py PORT
"""

import sys
import time
import uuid

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception, InternalServerError, WatchTimedOut
from etcd3gw.utils import _encode as encode

TIMEOUT = 20


def step(told):
    print(f"  {told}", flush=True)


def keys_and_values(client):
    step("keys and values")
    assert client.get("absent") == []
    assert client.put("greeting", "hello") is True
    assert client.put("greeting", "hello, world") is True
    [(value, metadata)] = client.get("greeting", metadata=True)
    assert (value, metadata["key"], metadata["version"]) == (b"hello, world", b"greeting", "2")
    first = int(metadata["create_revision"])
    assert client.get("greeting", revision=first) == [b"hello"]
    binary = bytes(range(256))
    assert client.put(binary, binary) is True
    assert client.get(binary) == [binary]
    assert client.put("empty", "") is True
    assert client.get("empty") == [b""]
    for number in range(20):
        client.put(f"list/{number:02}", f"value {19 - number:02}")
    found = [metadata["key"] for _, metadata in client.get_prefix("list/")]
    assert found == [f"list/{number:02}".encode() for number in range(20)]
    by_value = client.get_prefix("list/", sort_order="ascend", sort_target="value")
    assert [metadata["key"] for _, metadata in by_value] == found[::-1]
    assert client.get("list/", range_end="list0", limit=2) == [b"value 19", b"value 18"]
    assert client.get("list/", range_end="list0", count_only=True) == []
    assert client.get("list/00", keys_only=True) == [b""]
    assert len(client.get_all()) == 23
    assert client.delete("list/00") is True
    assert client.delete("list/00") is False
    assert client.delete_prefix("list/") is True
    assert client.get_prefix("list/") == []
    for request in [{"key": encode("a"), "revision": 10**9}, {"key": ""}]:
        try:
            client.post(client.get_url("/kv/range"), json=request)
        except Etcd3Exception as refused:
            assert "etcdserver: " in refused.detail_text, refused
        else:
            raise AssertionError(f"{request} must be refused")


def transactions(client):
    step("transactions")
    assert client.create("once", "1") is True
    assert client.create("once", "2") is False
    assert client.replace("once", "2", "3") is False
    assert client.replace("once", "1", "2") is True
    assert client.get("once") == [b"2"]
    key = encode("once")
    compare = {"key": key, "result": "EQUAL", "target": "VERSION", "version": 2}
    read = {"request_range": {"key": key}}
    delete = {"request_delete_range": {"key": key, "prev_kv": True}}
    answer = client.transaction({"compare": [compare], "success": [read, delete, read]})
    assert answer["succeeded"] is True
    before, deleted, after = answer["responses"]
    assert before["response_range"]["kvs"][0]["version"] == "2"
    assert deleted["response_delete_range"]["deleted"] == "1"
    assert "kvs" not in after["response_range"]
    answer = client.transaction({"compare": [compare], "success": [], "failure": [read]})
    assert "succeeded" not in answer and len(answer["responses"]) == 1
    within = {"request_txn": {"success": [{"request_put": {"key": key, "value": encode("x")}}]}}
    answer = client.transaction({"success": [within]})
    assert answer["responses"][0]["response_txn"]["succeeded"] is True
    try:
        client.transaction({"success": [within, delete]})
    except Etcd3Exception as refused:
        assert "duplicate key given in txn request" in refused.detail_text, refused
    else:
        raise AssertionError("a key that is changed twice must be refused")


def leases(client):
    step("leases")
    lease = client.lease(ttl=60)
    for key in ["leased/b", "leased/a"]:
        assert client.put(key, "v", lease) is True
    assert 0 < lease.ttl() <= 60
    assert lease.keys() == [b"leased/a", b"leased/b"]
    assert lease.refresh() == 60
    assert lease.revoke() is True
    assert client.get_prefix("leased/") == []
    assert (lease.ttl(), lease.refresh()) == (-1, -1)
    step("a lease that is kept alive, and then is not")
    lease = client.lease(ttl=2)
    client.put("short", "v", lease)
    began = renewed = time.monotonic()
    while time.monotonic() - began < 5:
        time.sleep(0.2)
        asked = time.monotonic()
        left = lease.refresh()
        assert left == 2 or asked - renewed > 2, "it ended early"
        renewed = asked
    while client.get("short"):
        assert time.monotonic() - renewed < TIMEOUT, "it does not end"
        time.sleep(0.1)
    assert time.monotonic() - renewed >= 2, "it ended early"


def locks(client, other):
    step("locks")
    name = str(uuid.uuid4())
    lock, rival = client.lock(name, ttl=60), other.lock(name, ttl=60)
    assert lock.acquire() is True and lock.is_acquired()
    assert rival.acquire() is False and not rival.is_acquired()
    assert lock.refresh() == 60
    assert rival.release() is False
    assert lock.release() is True and not lock.is_acquired()
    with rival:
        assert rival.is_acquired()
    assert not rival.is_acquired()
    step("the server's own locks")
    held = client.post(client.get_url("/lock/lock"), json={"name": encode("n")})
    client.post(client.get_url("/lock/unlock"), json={"key": held["key"]})
    try:
        client.post(client.get_url("/election/leader"), json={"name": encode("office")})
    except InternalServerError as refused:
        assert "election: no leader" in refused.detail_text, refused
    else:
        raise AssertionError("there is no leader")


def watches(client, other):
    step("watches")
    events, cancel = client.watch("watched")
    other.put("watched", "1")
    other.put("not watched", "")
    other.delete("watched")
    first, second = next(events), next(events)
    assert first["kv"]["value"] == b"1" and "type" not in first
    assert second["type"] == "DELETE" and second["kv"]["key"] == b"watched"
    cancel()
    events, cancel = client.watch_prefix("watched/", prev_kv=True)
    for number in range(100):
        other.put(f"watched/{number % 3}", str(number))
    seen = [next(events)["kv"] for _ in range(100)]
    assert [kv["value"] for kv in seen] == [str(number).encode() for number in range(100)]
    cancel()
    revision = int(seen[50]["mod_revision"])
    # Not watch_prefix_once, which in 2.7.0 encodes the end of the range twice.
    past = {"range_end": "watched0", "start_revision": revision}
    event = client.watch_once("watched/", timeout=TIMEOUT, **past)
    assert event["kv"]["value"] == b"50"
    try:
        client.watch_once("nothing happens here", timeout=0.2)
    except WatchTimedOut:
        pass
    else:
        raise AssertionError("nothing happened there")


def cluster(client):
    step("members and status")
    members = client.members()
    assert sorted(member["ID"] for member in members) == ["1", "2", "3"]
    status = client.status()
    assert status["leader"] in {"1", "2", "3"}
    assert status["leader"] != status["header"]["member_id"], "a follower is asked"
    assert int(status["raftIndex"]) > 0 and int(status["dbSize"]) > 0


def main():
    [port] = sys.argv[1:]

    def connect():
        # No path is given: it is found out by /version.
        return Etcd3Client(host="127.0.0.1", port=int(port), timeout=TIMEOUT)

    client, other = connect(), connect()
    keys_and_values(client)
    transactions(client)
    leases(client)
    locks(client, other)
    watches(client, other)
    cluster(client)


if __name__ == "__main__":
    main()
