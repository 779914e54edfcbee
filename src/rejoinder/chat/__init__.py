"""The service itself: what happens between a request and the log. Knows neither HTTP nor any backend."""
