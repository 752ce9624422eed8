"""Load tests: Locust users on the project's client, against a running server or one started for the run."""
