/** Sorting of rows by any column. Pure. */

export interface Sort { by: string; down: boolean }
export type Key = string | number;

/** Text from A to Z first, numbers from the largest: what one wants to see first. */
export function firstDirection(key: Key): boolean {
  return typeof key === 'number';
}

/** Sorted copy of the rows; equal ones keep their order. What has no value (NaN, '') is last both ways. */
export function sorted<R>(rows: readonly R[], key: (row: R) => Key, down: boolean): R[] {
  const keyed = rows.map((row, index) => ({ row, index, key: key(row) }));
  const empty = (value: Key) => value === '' || value !== value;
  keyed.sort((a, b) => {
    if (empty(a.key) || empty(b.key)) {
      return Number(empty(a.key)) - Number(empty(b.key)) || a.index - b.index;
    }
    const order = typeof a.key === 'number' && typeof b.key === 'number'
      ? a.key - b.key
      : String(a.key).localeCompare(String(b.key), undefined, { numeric: true });
    return (down ? -order : order) || a.index - b.index;
  });
  return keyed.map(entry => entry.row);
}
