"""Make `graphical-model.json`: noisy marginals, and what mbi 2.0.0 (McKenna's own library) fits to them.

Run once, in an environment of its own: `pip install mbi==2.0.0 && python tests/vectors/make_graphical_model.py`. The
tests compare our fit with these figures, so that they need neither mbi nor jax.
"""

import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
import mbi  # noqa: E402
import numpy as np  # noqa: E402
from mbi import Domain, estimation, marginal_loss  # noqa: E402

CASES = {
    "tree": ([3, 4, 2, 5], [(0,), (1,), (2,), (3,), (0, 1), (1, 2), (1, 3)]),
    "cycle": ([3, 4, 2, 3], [(0, 1), (1, 2), (2, 3), (0, 3), (1,)]),
    "triple and forest": ([2, 3, 2, 4, 3], [(0, 1, 2), (0,), (3, 4), (4,)]),
}


def main() -> None:
    rng = np.random.default_rng(20221207)
    cases = []
    for name, (sizes, cliques) in CASES.items():
        names = [f"c{column}" for column in range(len(sizes))]
        joint = rng.dirichlet(np.full(int(np.prod(sizes)), 0.3)).reshape(sizes) * 5000
        given, measurements = [], []
        for clique in cliques:
            away = tuple(column for column in range(len(sizes)) if column not in clique)
            exact = joint.sum(axis=away)
            sigma = float(rng.choice([5.0, 20.0, 60.0]))
            counts = np.rint(exact + rng.normal(0, sigma, exact.shape))
            given.append({"clique": clique, "counts": counts.tolist(), "sigma": sigma})
            measurements.append(
                marginal_loss.LinearMeasurement(counts.ravel(), tuple(names[one] for one in clique), sigma)
            )
        model = estimation.MirrorDescent().estimate(Domain(names, sizes), measurements, iters=20_000)
        fitted = [
            np.asarray(model.project(tuple(names[one] for one in clique)).datavector()).reshape(
                [sizes[one] for one in clique]
            )
            for clique in cliques
        ]
        cases.append(
            {
                "name": name,
                "sizes": sizes,
                "measurements": given,
                "total": float(np.sum(fitted[0])),
                "fitted": [one.tolist() for one in fitted],
            }
        )
    path = Path(__file__).with_name("graphical-model.json")
    path.write_text(
        json.dumps({"mbi": mbi.__version__ if hasattr(mbi, "__version__") else "2.0.0", "cases": cases}) + "\n"
    )


main()
