"""What traffic a trial gets (workloads) and how it is sent (the locust driver)."""
