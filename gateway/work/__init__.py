"""Special work 特殊作业 (GB 30871): permits, what is watched while they run, and the work record.

Pure: rules, permits, live facts and time come in, findings and events go out.
"""
