"""Formulas as inline drawings, so that a page shows them without a network or a script."""

import functools
import html
import re

PLAIN = {r"\lVert": r"\|", r"\rVert": r"\|", r"\lvert": "|", r"\rvert": "|", r"\tfrac": r"\frac",
         r"\bigl": "", r"\bigr": "", r"\big": "", r"\Big": "", r"\limits": "", r"\nonumber": ""}
SIZE = 10.0  # points; the drawing is scaled to the text around it
STEPS = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # matplotlib's path codes and SVG's letters


@functools.lru_cache(maxsize=1024)
def formula(latex: str, display: bool = False) -> str:
    """The formula as an inline SVG in the color of the text, or its source as code where it cannot be drawn."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    latex = html.unescape(latex).strip()
    text = re.sub(r"\\[A-Za-z]+", lambda match: PLAIN.get(match[0], match[0]), " ".join(latex.split()))
    if display:
        text = text.replace(r"\frac", r"\dfrac")
    font = FontProperties(size=SIZE, math_fontfamily="stix")
    try:
        drawn = TextPath((0, 0), f"${text}$", prop=font)
    except ValueError:  # beyond what matplotlib knows of LaTeX
        return f"<code class='formula'>{html.escape(latex)}</code>"
    box = drawn.get_extents()
    left, right, low, high = box.x0 - 0.3, box.x1 + 0.3, box.y0 - 0.3, box.y1 + 0.3
    steps = [STEPS[int(code)] + ("" if code == 79 else " ".join(f"{x:.2f} {-y:.2f}" for x, y in points.reshape(-1, 2)))
             for points, code in drawn.iter_segments(simplify=False, curves=True)]
    em = [f"{value / SIZE:.3f}em" for value in (right - left, high - low, low)]
    return (f"<svg class='formula' role='img' aria-label='{html.escape(latex, quote=True)}' "
            f"viewBox='{left:.2f} {-high:.2f} {right - left:.2f} {high - low:.2f}' "
            f"style='width:{em[0]};height:{em[1]};vertical-align:{em[2]}'><path d='{''.join(steps)}'/></svg>")
