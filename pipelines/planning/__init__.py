"""What a run would do, take and cost, before it starts.

In come a job, past runs and a pilot of a small part; out go a dry run, a forecast, alternatives and a chart.
Read `forecast` first.
"""
