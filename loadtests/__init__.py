"""The traffic of a trial (workloads) and the process that sends it (the locust driver)."""
