/** A flame graph: what called what, as wide as it took. A click zooms in; the search says how much matches. */

import { useState } from 'preact/hooks';
import { seconds } from './format';
import { FlameNode, ProfileReply } from './messages';

const ROW = 19;
const SMALLEST = 0.002; // share of the width of a box that is drawn

interface Box { node: FlameNode; from: number; share: number; depth: number; path: string }

/** The boxes of a subtree that fills the whole width. */
export function boxes(root: FlameNode): Box[] {
  const out: Box[] = [];
  const visit = (node: FlameNode, from: number, depth: number, path: string) => {
    const share = node.wall / (root.wall || 1);
    out.push({ node, from, share, depth, path });
    let at = from;
    node.children.forEach((child, i) => {
      const width = child.wall / (root.wall || 1);
      if (width >= SMALLEST) {
        visit(child, at, depth + 1, `${path}.${i}`);
      }
      at += width;
    });
  };
  visit(root, 0, 0, '');
  return out;
}

/** The share of the time in which a frame that matches was on the stack. */
export function matching(root: FlameNode, text: string): number {
  const wanted = text.toLowerCase();
  const inside = (node: FlameNode): number =>
    node.label.toLowerCase().includes(wanted) ? node.wall : node.children.reduce((sum, child) => sum + inside(child), 0);
  return root.wall ? inside(root) / root.wall : 0;
}

export function Flame(props: { profile: ProfileReply }) {
  const { root, text } = props.profile;
  const [way, setWay] = useState<FlameNode[]>([]); // from the root to what is zoomed into
  const [search, setSearch] = useState('');
  const top = way[way.length - 1] ?? root;
  const drawn = boxes(top);
  const depth = Math.max(...drawn.map(box => box.depth)) + 1;
  const wanted = search.toLowerCase();
  if (!root.wall) {
    return <div class="rn-dim">{text}</div>;
  }
  return (
    <div class="rn-flame">
      <b>{text}</b>
      <div class="rn-filters">
        <input type="search" placeholder="Search" aria-label="Search the flame graph" value={search}
          onInput={event => setSearch((event.target as HTMLInputElement).value)} />
        {way.length ? <button type="button" class="rn-button rn-small" onClick={() => setWay(way.slice(0, -1))}>Zoom out</button> : null}
        {wanted ? <output class="rn-dim">{(100 * matching(root, wanted)).toFixed(1)} % match</output> : null}
      </div>
      <div class="rn-flames" style={{ height: `${depth * ROW}px` }}>
        {drawn.map(({ node, from, share, depth: level, path }) => (
          <button key={path} type="button"
            class={`rn-frame rn-f-${node.kind} ${wanted && node.label.toLowerCase().includes(wanted) ? 'rn-found' : ''}`}
            title={`${node.label}: ${(100 * node.wall / root.wall).toFixed(1)} %, ${seconds(node.wall)}, of which ${seconds(node.cpu)} on a CPU`}
            style={{ left: `${100 * from}%`, width: `${100 * share}%`, top: `${level * ROW}px` }}
            onClick={() => (level ? setWay([...way, node]) : undefined)}>{node.label}</button>
        ))}
      </div>
      <div class="rn-legend rn-note">
        <span><span class="rn-key rn-f-user" aria-hidden="true" />your code</span>
        <span><span class="rn-key rn-f-library" aria-hidden="true" />libraries</span>
        <span>width: time</span>
      </div>
    </div>
  );
}
