"""A profile as a flame graph: one piece of HTML with its picture, its style and its few lines of script.

Without the script it is a picture, whose boxes name themselves, as wide as it was drawn. The script draws it as wide as
the cell, so that text keeps its size in a narrow one. In a notebook that is not trusted the profile is a text.
"""

from __future__ import annotations

import html
from typing import Any

from raynb.jupyter.formatting import format_seconds, picture_or_text
from raynb.jupyter.inspection.profiles import FrameNode, Profile

WIDTH, ROW = 1000, 18  # units of the picture
SMALLEST_SHARE = 0.001  # share of the time of a box that is drawn

_STYLE = """\
.raynb-flame{font:12px/1.5 system-ui,sans-serif;color:var(--jp-content-font-color1,CanvasText);color-scheme:light dark}
.raynb-flame .chart{overflow-x:auto}
.raynb-flame svg{display:block;width:100%%;min-width:%dpx;margin:4px 0}
.raynb-flame g:focus-visible rect{stroke:currentColor;stroke-width:2}
.raynb-flame g{cursor:pointer}
.raynb-flame rect{stroke:var(--jp-layout-color0,Canvas);stroke-width:.6}
.raynb-flame text{font-size:11px;fill:#1b1b1b;pointer-events:none}
.raynb-flame .user rect{fill:#f2a65a}.raynb-flame .library rect{fill:#9fc5e8}.raynb-flame .other rect{fill:#c8c8c8}
.raynb-flame .found rect{fill:#d678d6}.raynb-flame .away{display:none}
.raynb-flame input{font:inherit;padding:0 4px}.raynb-flame button{font:inherit}
"""

_SCRIPT = """\
(() => {
  const box = document.currentScript.closest('.raynb-flame');
  const all = [...box.querySelectorAll('g[data-x]')], out = box.querySelector('output');
  const svg = box.querySelector('svg'), high = svg.viewBox.baseVal.height;
  let W = %(width)d, shown = [0, 1];
  const place = (from, width) => { shown = [from, width]; draw(); };
  const draw = () => all.forEach(g => {
    const [from, width] = shown;
    const x = +g.dataset.x, w = +g.dataset.w, l = (x - from) / width * W, r = (x + w - from) / width * W;
    const away = r <= 0.01 || l >= W - 0.01;
    g.classList.toggle('away', away);
    if (away) return;
    const a = Math.max(0, l), b = Math.min(W, r), t = g.querySelector('text'), n = Math.floor((b - a) / 6.2);
    g.querySelector('rect').setAttribute('x', a); g.querySelector('rect').setAttribute('width', b - a);
    t.setAttribute('x', a + 3); t.textContent = n < 3 ? '' : g.dataset.n.length <= n ? g.dataset.n
      : g.dataset.n.slice(0, n - 1) + '…';
  });
  const fit = () => {
    const wide = Math.round(svg.getBoundingClientRect().width);
    if (!wide || wide === W) return;
    W = wide; svg.setAttribute('viewBox', `0 0 ${W} ${high}`); draw();
  };
  svg.style.minWidth = '0';
  new ResizeObserver(fit).observe(svg);
  const zoom = g => place(+g.dataset.x, +g.dataset.w);
  all.forEach(g => {
    g.addEventListener('click', () => zoom(g));
    g.addEventListener('keydown', e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); zoom(g); } });
  });
  box.querySelector('button').addEventListener('click', () => zoom(all[0]));
  box.querySelector('input').addEventListener('input', e => {
    const wanted = e.target.value.toLowerCase(); let sum = 0, end = -1;
    all.forEach(g => {
      const hit = wanted && g.dataset.n.toLowerCase().includes(wanted);
      g.classList.toggle('found', !!hit);
    });
    all.filter(g => g.classList.contains('found'))
      .sort((a, b) => a.dataset.x - b.dataset.x || b.dataset.w - a.dataset.w)
      .forEach(g => { if (+g.dataset.x >= end - 1e-9) { sum += +g.dataset.w; end = +g.dataset.x + +g.dataset.w; } });
    out.textContent = wanted ? (100 * sum).toFixed(1) + ' %% match' : '';
  });
})();
"""


class FlameGraph:
    """A profile as a cell shows it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def __repr__(self) -> str:
        return self.profile.text()

    def _repr_html_(self) -> str:
        return page(self.profile)

    def bundle(self) -> dict[str, Any]:
        """Returns it as a display."""
        return {"data": {"text/plain": repr(self), "text/html": self._repr_html_()}, "metadata": {}}


def page(profile: Profile) -> str:
    """Returns the flame graph as HTML that needs nothing else."""
    root = profile.tree()
    if not root.wall:
        return f"<pre>{html.escape(profile.text())}</pre>"
    boxes: list[str] = []
    depth = _draw(boxes, root, root, 0.0, 0)
    height = (depth + 1) * ROW
    head = html.escape(f"{profile.title}: {profile.verdict()}")
    rest = profile.text().partition("\n")[2].strip("\n")
    below = html.escape(rest.rpartition("\n")[2])
    picture = (
        '<div><input type="search" placeholder="Search" aria-label="Search the flame graph"> '
        '<button type="button">Reset zoom</button> <output></output></div>'
        f'<div class="chart"><svg viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{head}">'
        f"{''.join(boxes)}</svg></div>"
        f"<div>{below} Orange: your code. Blue: libraries. Width: time.</div>"
    )
    return (
        f'<div class="raynb-flame"><style>{_STYLE % WIDTH}</style><div><b>{head}</b></div>'
        f"{picture_or_text(picture, rest)}<script>{_SCRIPT % {'width': WIDTH}}</script></div>"
    )


def _draw(boxes: list[str], root: FrameNode, node: FrameNode, x: float, depth: int) -> int:
    """Draws a box and what is below it; returns the depth that was reached."""
    share = node.wall / root.wall
    left, width = x * WIDTH, share * WIDTH
    room = int(width / 6.2)
    label = node.label if len(node.label) <= room else f"{node.label[: room - 1]}…" if room >= 3 else ""
    wall, cpu = format_seconds(node.wall), format_seconds(node.cpu)
    title = f"{node.label}: {100 * share:.1f} %, {wall}, of which {cpu} on a CPU"
    boxes.append(
        f'<g class="{node.kind}" tabindex="0" data-x="{x:.6f}" data-w="{share:.6f}" data-n="{html.escape(node.label)}" '
        f'role="button" aria-label="{html.escape(title)}">'
        f"<title>{html.escape(title)}</title>"
        f'<rect x="{left:.2f}" y="{depth * ROW}" width="{width:.2f}" height="{ROW - 1}" rx="1"/>'
        f'<text x="{left + 3:.2f}" y="{depth * ROW + 12.5}" aria-hidden="true">{html.escape(label)}</text></g>'
    )
    deepest = depth
    for child in sorted(node.children.values(), key=lambda child: -child.wall):
        if child.wall / root.wall >= SMALLEST_SHARE:
            deepest = max(deepest, _draw(boxes, root, child, x, depth + 1))
        x += child.wall / root.wall
    return deepest
