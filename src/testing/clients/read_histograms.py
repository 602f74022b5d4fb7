"""Reads a log of histograms with HdrHistogram's own reader; prints tag, count, maximum and median of each."""

import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

reference = HdrHistogram(1, 1 << 32, 2)
reader = HistogramLogReader(sys.argv[1], reference)
while True:
    histogram = reader.get_next_interval_histogram()
    if histogram is None:
        break
    start, end = histogram.get_start_time_stamp(), histogram.get_end_time_stamp()
    assert 0 < start < end, (start, end)
    count, maximum = histogram.get_total_count(), histogram.get_max_value()
    print(histogram.get_tag(), count, maximum, histogram.get_value_at_percentile(50))
