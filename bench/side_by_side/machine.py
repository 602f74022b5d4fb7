"""What the figures were measured on: processor, memory, kernel, disk. Names neither the host nor its paths."""

import os
import platform
import re
import statistics
import time
from pathlib import Path


def default_label():
    return f"{os.cpu_count()}core-{platform.machine()}"


def describe(disk_folder):
    """(name, value) pairs for the record. Writes a small file into `disk_folder` to time the disk."""
    return [
        ("processor", f"{os.cpu_count()} x {processor()}"),
        ("memory", f"{memory_gib():.0f} GiB"),
        ("kernel", f"{platform.system()} {re.match(r'[0-9]+[.][0-9]+', platform.release())[0]}"),
        ("file system", file_system(disk_folder)),
        ("append 4 KiB + fdatasync", f"median {flush_us(disk_folder):.0f} us"),
        ("congestion control", read("/proc/sys/net/ipv4/tcp_congestion_control")),
        ("load before the run", " ".join(read("/proc/loadavg").split()[:3])),
    ]


def read(path):
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def processor():
    found = re.search(r"model name\s*:\s*(.*)", read("/proc/cpuinfo"))
    return found[1] if found else platform.machine()


def memory_gib():
    found = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    return int(found[1]) / 1024**2 if found else 0


def file_system(folder):
    """Type of the file system that holds `folder`: the mount with the longest matching path."""
    folder = str(Path(folder).resolve())
    mounts = [line.split() for line in read("/proc/mounts").splitlines()]
    matching = [
        (len(mount[1]), mount[2])
        for mount in mounts
        if len(mount) > 2 and (folder + "/").startswith(mount[1].rstrip("/") + "/")
    ]
    return max(matching)[1] if matching else "unknown"


def flush_us(folder, count=200):
    """Median time of what a durable write costs at least: the floor under every setData figure."""
    path = Path(folder) / "flush-probe"
    times = []
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(count):
                start = time.perf_counter()
                file.write(b"x" * 4096)
                os.fdatasync(file.fileno())
                times.append(time.perf_counter() - start)
    finally:
        path.unlink(missing_ok=True)
    return statistics.median(times) * 1e6
