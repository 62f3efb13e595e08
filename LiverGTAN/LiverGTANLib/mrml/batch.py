"""Several volumes one after the other: each liver into its own segmentation, errors by volume in one list."""

from dataclasses import dataclass, field

from . import scene


@dataclass(frozen=True)
class VolumeProblem:
    """Why a volume was not segmented."""

    volume: str
    reason: str


@dataclass
class VolumeBatch:
    """The volumes still to do, what came of the others, and what went wrong.

    prepare(volumeNode, segmentationNode) -> request and apply(request, found) -> result are the session's.
    """

    waiting: list
    prepare: object
    apply: object
    results: list = field(default_factory=list)
    problems: list[VolumeProblem] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = list(self.waiting)
        self.count = len(self.waiting)

    @property
    def position(self) -> str:
        """For the person: which one of how many is being worked on."""
        return f"{self.count - len(self.waiting)} of {self.count}"

    def next(self):
        """The request of the next volume that can be segmented, None when all are done."""
        while self.waiting:
            volumeNode = self.waiting.pop(0)
            if volumeNode is None or volumeNode.GetScene() is None:
                self.problems.append(VolumeProblem("(removed)", "The volume was removed meanwhile."))
                continue
            try:
                return self.prepare(volumeNode, scene.findSegmentation(volumeNode))
            except Exception as error:
                self.problems.append(VolumeProblem(volumeNode.GetName(), _sentence(error)))
        return None

    def finish(self, request, work) -> None:
        """Write what work() returns; whatever goes wrong with this volume goes into the list."""
        name = request.volumeNode.GetName()
        try:
            self.results.append(self.apply(request, work()))
        except Exception as error:
            self.problems.append(VolumeProblem(name, _sentence(error)))

    def summary(self) -> str:
        """How it ended, in a few lines for the person."""
        lines = [f"{len(self.results)} of {self.count} volumes segmented."]
        return "\n".join(lines + [f"{problem.volume}: {problem.reason}" for problem in self.problems])


def _sentence(error: Exception) -> str:
    return str(error) or type(error).__name__
