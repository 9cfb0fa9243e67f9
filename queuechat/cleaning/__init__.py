"""From log files, ours or FastChat's, to rows that can be counted, ranked and published."""
