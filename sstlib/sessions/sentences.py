"""Summaries of the objects of a video in words."""

from collections.abc import Sequence

EVENTS = 4  # losses that are listed one by one


def sentence(identity: int, frames: Sequence[str], presence: Sequence[float], doubt: Sequence[float]) -> str:
    """What became of an object, in frames as the user names them: "object 2: lost at frame 14, seen again at 31;
    doubtful in 9 frames".

    Args:
        identity: the user's id.
        frames: names in the order of time, of the frames in which the object is followed.
        presence, doubt: probabilities in each of them.
    """
    seen = [p >= 0.5 for p in presence]
    names = [name.lstrip("0") or "0" if name.isdecimal() else name for name in frames]
    events = [] if seen[0] else [f"not seen before frame {names[seen.index(True)]}" if True in seen else "never seen"]
    changes = [t for t in range(1, len(seen)) if seen[t] != seen[t - 1]]
    if not seen[0]:
        changes = changes[1:]
    for t in changes[:2 * EVENTS]:
        events.append(f"seen again at {names[t]}" if seen[t] else f"lost at frame {names[t]}")
    if more := len(changes[2 * EVENTS:]):
        events.append(f"and lost {-(-more // 2)} times more")
    doubtful = sum(d >= 0.5 for d in doubt)
    clauses = [", ".join(events) or "in sight throughout"
            ] + [f"doubtful in {doubtful} frame{'s' * (doubtful > 1)}"] * (doubtful > 0)
    return f"object {identity}: {'; '.join(clauses)}"


def sentences(frames: Sequence[str], judgments: dict[int, tuple[dict[int, float], dict[int, float]]]) -> list[str]:
    """A sentence of each object.

    Args:
        frames: names of all frames.
        judgments: presence and doubt of each object by frame number, in any order; an object counts from its first
            frame on.
    """
    times = sorted(judgments)
    objects = sorted({identity for presence, _ in judgments.values() for identity in presence})
    lines = []
    for identity in objects:
        own = [t for t in times if identity in judgments[t][0]]
        presence, doubt = ([judgments[t][part][identity] for t in own] for part in (0, 1))
        lines.append(sentence(identity, [frames[t] for t in own], presence, doubt))
    return lines
