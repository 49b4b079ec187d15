/** Whether a cell shows what its run has shown: compares outputs of a notebook with those that the kernel remembers. */

import type { CellOutputs } from '../ui/messages';

/** An output as it is saved in a notebook. */
export type Output = Record<string, unknown> & { output_type?: string };

/** `same`; `behind`: provably an earlier state of it; `other`: nobody can tell. */
export type Found = 'same' | 'behind' | 'other';

const FIELDS: Record<string, string[]> = {
  stream: ['name', 'text'], display_data: ['data', 'metadata'], execute_result: ['data', 'metadata'],
  error: ['ename', 'evalue', 'traceback']
};

/** What counts of an output, as text: keys in order, lines joined as a file splits them. */
export function plain(output: Output): string {
  const sorted = (value: unknown, key = ''): unknown => {
    if (Array.isArray(value)) {
      const lines = key !== 'traceback' && value.every(one => typeof one === 'string');
      return lines && (key === 'text' || key.includes('/')) ? value.join('') : value.map(one => sorted(one));
    }
    if (value && typeof value === 'object') {
      const known = value as Record<string, unknown>;
      return Object.keys(known).sort().filter(name => known[name] !== undefined).map(name => [name, sorted(known[name], name)]);
    }
    return value;
  };
  const kind = output.output_type ?? '';
  return JSON.stringify([kind, ...(FIELDS[kind] ?? []).map(name => sorted(output[name] ?? {}, name))]);
}

const text = (output: Output) => Array.isArray(output.text) ? output.text.join('') : String(output.text ?? '');

/** Whether a stream shows the beginning of another one; the last line may have been drawn over. */
function begins(shown: Output, whole: Output): boolean {
  if (shown.output_type !== 'stream' || whole.output_type !== 'stream' || shown.name !== whole.name) {
    return false;
  }
  const [part, all] = [text(shown), text(whole)];
  return all.startsWith(part) || /[\r\b]/.test(part) && all.startsWith(part.slice(0, part.lastIndexOf('\n') + 1));
}

/**
 * Compares what a cell shows with what its run has shown.
 *
 * @param count - its prompt number as the notebook has it.
 * @param saved - when the notebook's file was written, seconds since the epoch; NaN: it was not looked at.
 */
export function compare(shown: Output[], outputs: Output[], run: CellOutputs, count: number | null, saved: number): Found {
  if (!shown.length) {
    // Nobody has taken its outputs away if it has its number still, goes on, or was saved before there were any.
    const untouched = count === run.count || run.running || saved < run.first;
    return !outputs.length ? 'same' : untouched ? 'behind' : 'other';
  }
  let found: Found = shown.length < outputs.length ? 'behind' : 'same';
  for (const [place, output] of shown.entries()) {
    const now = outputs[place];
    if (!now) {
      return 'other';
    }
    if (plain(output) === plain(now)) {
      continue;
    }
    const last = place === shown.length - 1;
    if (now.updated && output.output_type === now.output_type || last && begins(output, now)) {
      found = 'behind';
    } else {
      return 'other';
    }
  }
  return found;
}
