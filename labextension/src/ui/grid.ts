/** The geometry of a table: which columns fit, which rows are in sight. Pure. */

export interface Track {
  key: string;
  /** Least width in px. */
  min: number;
  /** Share of the room that is left; 0: it keeps its width. */
  grow: number;
  /** 1 is always there; larger ones go first when there is little room. */
  priority: number;
}

export const GAP = 12;

/** The columns that fit into `width` px: the most important ones, in their given order. */
export function fitting<C extends Track>(columns: readonly C[], width: number, gap = GAP): C[] {
  const byImportance = [...columns].sort((a, b) => a.priority - b.priority);
  const kept = new Set<C>();
  let used = 0;
  for (const column of byImportance) {
    const more = column.min + (kept.size ? gap : 0);
    if (column.priority > 1 && used + more > width) {
      break;
    }
    kept.add(column);
    used += more;
  }
  return columns.filter(column => kept.has(column));
}

/** The columns as CSS grid tracks. */
export function tracks(columns: readonly Track[]): string {
  return columns
    .map(column => (column.grow ? `minmax(${column.min}px, ${column.grow}fr)` : `${column.min}px`))
    .join(' ');
}

export interface Opened { index: number; height: number }

/** The top of row `index`: rows below an open one are moved down by its detail. */
export function rowTop(index: number, row: number, open: Opened | null): number {
  return index * row + (open && index > open.index ? open.height : 0);
}

/** The rows [first, last) of `count` that are in sight, with a few more on both sides. */
export function inSight(
  count: number, row: number, top: number, height: number, open: Opened | null, spare = 4
): [number, number] {
  const extra = open ? open.height : 0;
  const first = Math.max(0, Math.floor((top - extra) / row) - spare);
  const last = Math.min(count, Math.ceil((top + height) / row) + spare);
  return [Math.min(first, count), last];
}
