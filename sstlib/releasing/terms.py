"""The terms of weights, by the data that they were trained on."""

from typing import Any

from sstlib.datasets import DATASETS, samples

GENERATED, PHOTOGRAPHS = "generated", "photographs"  # beside the names of data sets
TERMS = {
    GENERATED: DATASETS["sst-occlusion"].derived,
    PHOTOGRAPHS: "Non-commercial research only, with attribution: trained on photographs with masks of ECSSD (Yan et "
                 "al., CVPR 2013), COCO 2017 (annotations CC BY 4.0, photographs under their authors' licenses) and "
                 "DAVIS 2017's test-challenge; features of EfficientNet-Lite0 (ImageNet; Apache-2.0).",
}
FREE = DATASETS["sst-occlusion"].license


def terms_of(trained_on: str) -> tuple[str, str]:
    """The terms that weights trained on some data state, and their license as model hubs name it.

    Args:
        trained_on: a name of `datasets.DATASETS`, "generated" or "photographs", or several with "+" between.

    Raises:
        ValueError: one that is none of these.
    """
    terms, licenses = [], []
    for name in trained_on.split("+"):
        if name not in (*TERMS, *DATASETS):
            raise ValueError(f"weights trained on {trained_on!r} have no stated terms; known: "
                             f"{', '.join((*TERMS, *DATASETS))}")
        terms.append(TERMS.get(name) or DATASETS[name].derived)
        licenses.append(DATASETS[name].license if name in DATASETS else FREE if name == GENERATED else "cc-by-nc-4.0")
    bound = [i for i, license in enumerate(licenses) if license != FREE] or [0]  # these decide over free ones
    return " ".join(dict.fromkeys(terms[i] for i in bound)), licenses[bound[0]]  # data of one source say so once


def trained_on(data: dict[str, Any]) -> str:
    """What the run of a configuration's `data` was trained on, as `terms_of` reads it."""
    real = samples.weights_of(data["real"]) if data["real"] else {}
    return "+".join([*real, *[PHOTOGRAPHS] * (data.get("photo_ratio", 0) > 0)]) or GENERATED
