"""Where a process spends its time, as folded stacks (`frame;frame;frame count`): on the processor, and off it.

| | by | needs |
|---|---|---|
| on | perf, `cpu-clock` (works in virtual machines without counters) | perf; kernel frames: root or kernel.perf_event_paranoid <= 1 |
| off | perf, `sched:sched_switch` with stacks, and when the thread came back | perf and readable tracepoints, in practice root |
| states | /proc/<pid>/task/*/{stat,wchan,stack} looked at again and again | nothing; kernel stacks: root |

`states` stands in where perf is missing or forbidden. It knows no function of the server, only what each thread waits for in
the kernel, and says so in the graph.
"""

import collections
import re
import shutil
import subprocess
import time
from pathlib import Path

from .servers import Stop

ON_HERTZ = 997
STATES_HERTZ = 97
# Frames of the tracing itself, between the scheduler and the event.
SWITCH_FRAMES = re.compile(r"^(__traceiter_|perf_trace_|trace_event_|__perf_)")
STATE_NAMES = {"R": "running or runnable", "S": "sleeps", "D": "waits for a device", "T": "stopped"}


class Unable(Exception):
    """perf cannot do it here; says why."""


def on_cpu(pids, seconds, folder, collapse):
    """(folded stacks, how they were taken)"""
    for event, how in [("cpu-clock", ""), ("cpu-clock:u", ", user space only: kernel.perf_event_paranoid forbids the rest")]:
        try:
            data = record(pids, seconds, folder, ["-e", event, "-F", str(ON_HERTZ), "-g"])
        except Unable as error:
            reason = error
            continue
        script = perf_script(data, [])
        folded = subprocess.run([collapse], input=script, capture_output=True, text=True, check=False)
        if folded.returncode != 0 or not folded.stdout:
            raise Stop(f"{collapse} made nothing of what perf recorded: {folded.stderr.strip()}")
        return folded.stdout, f"perf {event} at {ON_HERTZ} Hz, {seconds:g} s{how}"
    raise reason


def off_cpu(pids, seconds, folder):
    """As `on_cpu`; counts are microseconds between a thread's leaving a processor and its return."""
    data = record(pids, seconds, folder, ["-e", "sched:sched_switch", "-g", "--switch-events"])
    script = perf_script(data, ["--show-switch-events", "-F", "comm,tid,time,event,trace,ip,sym"])
    return fold_switches(script.splitlines()), f"perf sched:sched_switch, {seconds:g} s, widths are waiting time, idle threads left out"


def record(pids, seconds, folder, options):
    if shutil.which("perf") is None:
        raise Unable("perf is not installed (Debian: apt install linux-perf)")
    data = folder / "perf.data"
    command = ["perf", "record", "-q", "-o", data, "-p", ",".join(map(str, pids)), *options, "--", "sleep", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unable(f"perf record {' '.join(options)} fails: {done.stderr.strip()[-500:]}")
    return data


def perf_script(data, options):
    done = subprocess.run(["perf", "script", "-i", data, *options], capture_output=True, text=True, check=False)
    data.unlink()
    if done.returncode != 0:
        raise Stop(f"perf script fails: {done.stderr.strip()[-500:]}")
    return done.stdout


# "core-0 1234 5.678901: sched:sched_switch: prev_comm=core-0 prev_pid=1234 prev_prio=120 prev_state=S ==> ..."
SAMPLE = re.compile(r"^\s*(.+?)\s+(\d+)\s+([\d.]+):\s+sched:sched_switch:.*prev_state=(\w)")
# "core-0 1234 5.678901: PERF_RECORD_SWITCH IN"
SWITCH_IN = re.compile(r"^\s*(.+?)\s+(\d+)\s+([\d.]+):\s+PERF_RECORD_SWITCH IN")
# Threads that have nothing to do and are no part of anybody's waiting: the kernel's spare workers, the stall detector's nap.
IDLE = re.compile(r";io_wq_worker;schedule|;hrtimer_nanosleep;|;common_nsleep")
FRAME = re.compile(r"^\s+[0-9a-f]+ (.+?)(?: \(.*\))?$")


def fold_switches(lines):
    """Each time away from the processor, under the stack that left it."""
    micros = collections.Counter()
    left, stack, current = {}, [], None
    for line in lines:
        if current is not None:
            if frame := FRAME.match(line):
                stack.append(frame[1])
                continue
            comm, tid, at, state = current
            left[tid] = (at, folded(comm, stack, state))
            current, stack = None, []
        if sample := SAMPLE.match(line):
            current = (sample[1], sample[2], float(sample[3]), sample[4])
        elif (back := SWITCH_IN.match(line)) and back[2] in left:
            at, key = left.pop(back[2])
            micros[key] += round((float(back[3]) - at) * 1e6)
    return "".join(f"{key} {count}\n" for key, count in sorted(micros.items()) if count > 0 and not IDLE.search(key))


def folded(comm, leaf_first, state):
    frames = [frame.replace(";", ":") for frame in leaf_first if not SWITCH_FRAMES.match(frame)]
    preempted = ["(another thread had the processor)"] if state == "R" else []
    return ";".join([comm, *reversed(frames), *preempted])


def states(pids, seconds):
    """What each thread is seen doing, at a fixed rate."""
    seen = collections.Counter()
    began = time.monotonic()
    rounds = 0
    while time.monotonic() - began < seconds:
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                if key := state_of(task):
                    seen[key] += 1
        rounds += 1
        time.sleep(max(0, began + rounds / STATES_HERTZ - time.monotonic()))
    text = "".join(f"{key} {count}\n" for key, count in sorted(seen.items()))
    return text, f"states of threads from /proc, {rounds / seconds:.0f} Hz, {seconds:g} s: no functions of the server"


def state_of(task):
    """thread;state;kernel frames, outermost first; None for a thread that has just ended."""
    try:
        comm, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        state = rest.split()[0]
        frames = [STATE_NAMES.get(state, state)]
        if state != "R":
            frames += kernel_frames(task)
    except (OSError, IndexError):
        return None
    return ";".join([comm, *frames])


def kernel_frames(task):
    try:
        # "[<0>] do_epoll_wait+0x123/0x456", innermost first
        lines = (task / "stack").read_text().splitlines()
        return [line.split()[-1].partition("+")[0] for line in reversed(lines)]
    except OSError:
        wchan = (task / "wchan").read_text().strip()
        return [wchan] if wchan not in ("", "0") else []
