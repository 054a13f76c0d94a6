"""Reads a gateway's /metrics as Prometheus does."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateways import Served

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scrape:
    """What one look at /metrics found, as Prometheus reads it."""

    def __init__(self, served: Served) -> None:
        with served.asking() as client:
            answer = client.get("/metrics")
        assert answer.status_code == 200
        self.size = len(answer.content)
        self.families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        self._samples: Samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """A sample that is there."""
        return self._samples[name, tuple(sorted(labels.items()))]

    def look_for(self, name: str, **labels: str) -> float | None:
        """A sample, if it is there."""
        return self._samples.get((name, tuple(sorted(labels.items()))))

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of a name that are not zero, by the values of their labels in the order of the labels' names."""
        return {
            tuple(value for _, value in labels): count
            for (sample, labels), count in self._samples.items()
            if sample == name and count
        }

    def total(self, name: str) -> float:
        """All samples of a name together."""
        return sum(self.all(name).values())
