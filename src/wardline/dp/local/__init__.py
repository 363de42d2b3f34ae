"""The local model: every person's own device randomises the answer, and nobody has to be trusted with the truth.

A mechanism is a frozen value with two halves. The client's half, `randomise`, makes a report; the server's, `tally` and
`estimate`, turns many reports into unbiased estimates with standard errors. `encode` and `decode` are the serial form
in between. All of it runs with the base install: NumPy, and the operating system's random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wardline.core.lazy import lazy

if TYPE_CHECKING:
    from wardline.dp.local.choice import Candidate, Choice, candidates, choose, choose_numeric
    from wardline.dp.local.comparison import Comparison, Contender, compare_counts, compare_means
    from wardline.dp.local.frequency import FrequencyEstimate, FrequencyMechanism, Tally, consistent, simulate
    from wardline.dp.local.hadamard import HadamardResponse
    from wardline.dp.local.memo import MemoisedClient
    from wardline.dp.local.numeric import MeanEstimate, NumericResponse
    from wardline.dp.local.rappor import Rappor
    from wardline.dp.local.responses import RandomisedResponse
    from wardline.dp.local.unary import UnaryEncoding
    from wardline.dp.local.vectors import NumericVectorResponse
    from wardline.dp.local.wire import Received, decode, decode_one, encode

__all__ = [
    "Candidate",
    "Choice",
    "Comparison",
    "Contender",
    "FrequencyEstimate",
    "FrequencyMechanism",
    "HadamardResponse",
    "MeanEstimate",
    "MemoisedClient",
    "NumericResponse",
    "NumericVectorResponse",
    "RandomisedResponse",
    "Rappor",
    "Received",
    "Tally",
    "UnaryEncoding",
    "candidates",
    "choose",
    "choose_numeric",
    "compare_counts",
    "compare_means",
    "consistent",
    "decode",
    "decode_one",
    "encode",
    "simulate",
]

__getattr__ = lazy(
    __name__,
    {
        "choice": ("Candidate", "Choice", "candidates", "choose", "choose_numeric"),
        "comparison": ("Comparison", "Contender", "compare_counts", "compare_means"),
        "frequency": ("FrequencyEstimate", "FrequencyMechanism", "Tally", "consistent", "simulate"),
        "hadamard": ("HadamardResponse",),
        "memo": ("MemoisedClient",),
        "numeric": ("MeanEstimate", "NumericResponse"),
        "rappor": ("Rappor",),
        "responses": ("RandomisedResponse",),
        "unary": ("UnaryEncoding",),
        "vectors": ("NumericVectorResponse",),
        "wire": ("Received", "decode", "decode_one", "encode"),
    },
)
