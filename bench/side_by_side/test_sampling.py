"""Time off the processor from what perf prints."""

import os
import unittest

from side_by_side import sampling

SCRIPT = """\
core 77 10.000100: sched:sched_switch: prev_comm=core prev_pid=77 prev_prio=120 prev_state=S ==> next_comm=x next_pid=1
\tffffffff81000001 __schedule
\tffffffff81000002 schedule
\tffffffff81000003 do_epoll_wait
\t    55d0c0a01234 main::turn (inlined)

core 77 10.000103: PERF_RECORD_SWITCH OUT
core 77 10.000403: PERF_RECORD_SWITCH IN
core 77 10.000500: sched:sched_switch: prev_comm=core prev_pid=77 prev_prio=120 prev_state=R ==> next_comm=x next_pid=1
\tffffffff81000001 __schedule

core 77 10.000503: PERF_RECORD_SWITCH OUT preempt
core 77 10.000510: PERF_RECORD_SWITCH IN
iou wrk 78 10.000600: sched:sched_switch: prev_comm=iou prev_pid=78 prev_prio=120 prev_state=I ==> next_comm=x next_pid=1
\tffffffff81000001 __schedule
\tffffffff81000002 schedule_timeout
\tffffffff81000003 io_wq_worker

iou wrk 78 10.100000: PERF_RECORD_SWITCH IN
core 77 10.200000: sched:sched_switch: prev_comm=core prev_pid=77 prev_prio=120 prev_state=S ==> next_comm=x next_pid=1
\tffffffff81000001 __schedule
"""


class SamplingTest(unittest.TestCase):
    def test_waits_are_counted_under_the_stack_that_left(self):
        folded = sampling.fold_switches(SCRIPT.splitlines())
        expected = ["core;__schedule;(another thread had the processor) 10", "core;main::turn;do_epoll_wait;schedule;__schedule 303"]
        self.assertEqual(folded.splitlines(), expected)

    def test_states_of_this_very_process(self):
        folded, how = sampling.states([os.getpid()], 0.1)
        self.assertRegex(folded, r"(?m)^python3?[^;]*;\S")
        self.assertIn("no functions of the server", how)


if __name__ == "__main__":
    unittest.main()
